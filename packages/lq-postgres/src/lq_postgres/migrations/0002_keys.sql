-- Code that knows migration 1 may run beside this.

-- The order of claims among the records with a concurrency key, so that a claim reads only the first of them.
-- No key is empty. With this condition, no statement that looks for one key uses this index.
CREATE INDEX records_ready_in_order ON lq.records (execution_backend, queue, (~priority), scheduled_at, id)
    WHERE ready AND coalesce(concurrency_key, '') <> '';

-- The blocked records after a record, by the words of `after`, among which are the ids of its predecessors.
CREATE INDEX records_after ON lq.records USING gin (regexp_split_to_array(after, '[^0-9a-f-]+')) WHERE blocked;
