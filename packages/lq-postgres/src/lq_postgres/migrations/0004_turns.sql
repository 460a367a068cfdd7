-- Code that knows migration 1 may run beside this.
--
-- The turns of the records with fairness keys, as in statements/turns.py: those of a line, and the last one of each key.
-- With its third condition, no statement that looks for the last turn of a key uses the first index.
CREATE INDEX records_turns ON lq.records (execution_backend, queue, priority, scheduled_at)
    WHERE ready AND strpos(metadata, '.fairness_key":') > 0 AND scheduled_at > '-infinity';
CREATE INDEX records_last_turns ON lq.records (
    execution_backend, queue, priority, substring(metadata FROM '"lq[.]fairness_key":("([^"\\]|\\.)*")'), scheduled_at
) WHERE ready AND strpos(metadata, '.fairness_key":') > 0;
