-- Code that knows migration 1 may run beside this.

-- The order of claims over all queues, so that a claim from all of them does not look at each.
-- The default queue is apart, so that an application without other queues does not pay for these indexes.
CREATE INDEX records_ready_anywhere ON lq.records (execution_backend, (~priority), scheduled_at, id)
    WHERE ready AND concurrency_key IS NULL AND queue <> 'default';
CREATE INDEX records_ready_keyed_anywhere ON lq.records (execution_backend, (~priority), scheduled_at, id)
    WHERE ready AND coalesce(concurrency_key, '') <> '' AND queue <> 'default';
