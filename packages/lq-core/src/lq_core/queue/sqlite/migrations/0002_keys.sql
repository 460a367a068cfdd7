-- Code that knows migration 1 may run beside this.

-- The order of claims among the records with a concurrency key, so that a claim reads only the first of them.
CREATE INDEX records_ready_keyed
  ON records (execution_backend, queue, priority DESC, scheduled_at, id, expires_at, concurrency_key)
  WHERE ready = 1 AND concurrency_key IS NOT NULL;

-- Which records come after a record; the ids of predecessors are text, as in `after`. Code that knows only migration 1
-- writes none, and a look at all blocked records finds its successors. A trigger would double the time of each insert.
CREATE TABLE successors (
  predecessor TEXT NOT NULL,
  successor BLOB NOT NULL,
  PRIMARY KEY (predecessor, successor)
) WITHOUT ROWID;

INSERT OR IGNORE INTO successors
SELECT one.value, records.id
FROM records, json_each(CASE WHEN json_valid(records.after) THEN records.after ELSE '{}' END, '$.ids') AS one
WHERE records.after IS NOT NULL;

CREATE TRIGGER records_deleted AFTER DELETE ON records WHEN OLD.after IS NOT NULL BEGIN
  DELETE FROM successors WHERE successor = OLD.id AND predecessor IN (
    SELECT value FROM json_each(CASE WHEN json_valid(OLD.after) THEN OLD.after ELSE '{}' END, '$.ids')
  );
END;
