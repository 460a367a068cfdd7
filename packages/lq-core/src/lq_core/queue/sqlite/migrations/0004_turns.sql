-- Code that knows migration 1 may run beside this.

-- The fairness key of a record. Older code inserts rows of 41 values, which do not include a generated column. The
-- conditions are in the order of their price; damaged metadata are not JSON.
ALTER TABLE records ADD COLUMN fairness_key TEXT GENERATED ALWAYS AS (
  CASE WHEN metadata IS NOT NULL AND instr(metadata, '"lq.fairness_key":') AND json_valid(metadata)
  THEN json_extract(metadata, '$."lq.fairness_key"') END
) VIRTUAL;

-- The turns of a line, and the last one of each fairness key. Without metadata, SQLite does not compute the key.
CREATE INDEX records_turns ON records (execution_backend, queue, priority, scheduled_at)
  WHERE ready = 1 AND metadata IS NOT NULL AND fairness_key IS NOT NULL;

CREATE INDEX records_last_turns ON records (execution_backend, queue, priority, fairness_key, scheduled_at)
  WHERE ready = 1 AND metadata IS NOT NULL AND fairness_key IS NOT NULL;
