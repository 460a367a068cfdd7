-- Moments are microseconds since 1970 in UTC, ids are 16 bytes, nested values are JSON.

CREATE TABLE records (
  id BLOB NOT NULL UNIQUE,
  task_name TEXT NOT NULL,
  arguments TEXT NOT NULL,
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  execution_backend TEXT NOT NULL,
  execution_profile TEXT,
  key TEXT,
  key_released INTEGER NOT NULL,
  retries INTEGER NOT NULL,
  backoff TEXT,
  timeout REAL,
  expires_at INTEGER,
  schedule TEXT,
  metadata TEXT,
  created_at INTEGER NOT NULL,
  scheduled_at INTEGER NOT NULL,
  status TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  retry_count INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  worker_id TEXT,
  execution_ref TEXT,
  log_url TEXT,
  cancel_requested INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  progress TEXT,
  result TEXT,
  error TEXT,
  history TEXT,
  retry_rules TEXT,
  key_scope TEXT NOT NULL,
  key_until INTEGER,
  concurrency_key TEXT,
  limits TEXT,
  after TEXT,
  -- 1: waits for the records of `after`.
  blocked INTEGER NOT NULL,
  -- The key, as long as it is held; NULL afterwards.
  unique_key TEXT,
  -- 1: pending and due, may be claimed. 0: pending, waits for its time. NULL: neither.
  ready INTEGER
);

-- The order of claims. Every index here is partial, so that a record costs one only while it needs it.
-- expires_at stands at the end so that overdue records are passed over without being read.
CREATE INDEX records_ready
  ON records (execution_backend, queue, concurrency_key, priority DESC, scheduled_at, id, expires_at)
  WHERE ready = 1;

CREATE INDEX records_waiting ON records (execution_backend, queue, scheduled_at)
  WHERE ready = 0;

-- What somebody works on: rescue and reconciliation read it, and it counts against the limits of its queue.
CREATE INDEX records_owned ON records (status, queue, worker_id)
  WHERE status IN ('dispatched', 'running');

-- What counts against the limits of a concurrency key.
CREATE INDEX records_semaphores ON records (concurrency_key)
  WHERE concurrency_key IS NOT NULL AND status IN ('dispatched', 'running');

-- What has ended: statistics count it without reading a record, and retention finds the oldest.
CREATE INDEX records_ended ON records (status, queue, finished_at)
  WHERE finished_at IS NOT NULL;

CREATE INDEX records_expiring ON records (expires_at)
  WHERE expires_at IS NOT NULL AND status = 'pending';

CREATE INDEX records_stopping ON records (status, queue)
  WHERE cancel_requested = 1;

-- What waits for others.
CREATE INDEX records_blocked ON records (queue)
  WHERE blocked = 1;

CREATE UNIQUE INDEX records_unique_key ON records (unique_key)
  WHERE unique_key IS NOT NULL;

CREATE INDEX records_key ON records (key, id)
  WHERE key IS NOT NULL;

CREATE TABLE workers (
  id TEXT PRIMARY KEY,
  queues TEXT,
  execution_backends TEXT NOT NULL,
  concurrency INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE queues (
  name TEXT PRIMARY KEY,
  paused INTEGER NOT NULL,
  limits TEXT,
  -- Only records created before this moment are claimed.
  draining INTEGER
) WITHOUT ROWID;

-- The state of each schedule, as JSON; the version is compared when it is changed.
CREATE TABLE schedules (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID;

-- The tokens of a rate. A bucket that is full is not kept.
CREATE TABLE buckets (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  full_at INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;

CREATE INDEX buckets_full ON buckets (full_at);
