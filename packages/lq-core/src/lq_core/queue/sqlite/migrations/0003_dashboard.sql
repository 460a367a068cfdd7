-- Code that knows migration 1 may run beside this.

-- What has ended in each minute of the last days, in a queue, or in all of them with the name ''.
CREATE TABLE rollups (
  minute INTEGER NOT NULL,
  queue TEXT NOT NULL,
  numbers TEXT NOT NULL,
  PRIMARY KEY (minute, queue)
) WITHOUT ROWID;

-- What people have changed with commands and in the dashboard.
CREATE TABLE actions (
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL
);

CREATE INDEX actions_at ON actions (at);
