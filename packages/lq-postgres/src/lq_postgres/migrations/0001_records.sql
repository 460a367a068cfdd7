-- Code that knows migration 1 may run beside this.
--
-- No index mentions a column that completing a record changes, unless it has a key or a limit. PostgreSQL can therefore
-- leave the indexes alone (a HOT update) and clean up page by page.

CREATE TABLE lq.records (
    id uuid PRIMARY KEY,
    epoch bigint NOT NULL,
    priority bigint NOT NULL,
    created_at timestamptz NOT NULL,
    scheduled_at timestamptz NOT NULL,
    expires_at timestamptz,
    key_until timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    timeout double precision,
    attempt integer NOT NULL,
    retries integer NOT NULL,
    retry_count integer NOT NULL,
    losses integer NOT NULL,
    ready boolean,
    key_released boolean NOT NULL,
    cancel_requested boolean NOT NULL,
    blocked boolean NOT NULL,
    status text COLLATE "C" NOT NULL,
    queue text COLLATE "C" NOT NULL,
    execution_backend text COLLATE "C" NOT NULL,
    task_name text NOT NULL,
    key text,
    key_scope text NOT NULL,
    concurrency_key text COLLATE "C",
    semaphore_key text COLLATE "C",
    semaphore_queue text COLLATE "C",
    held_key text,
    indexed_status text,
    execution_profile text,
    execution_ref text,
    log_url text,
    schedule text,
    worker_id text,
    arguments text NOT NULL,
    metadata text,
    backoff text,
    retry_rules text,
    limits text,
    after text,
    progress text,
    result text,
    error text,
    history text
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_limit = 2000,
    autovacuum_analyze_scale_factor = 0.05
);

COMMENT ON COLUMN lq.records.ready IS
    'true: may be claimed now; false: pending, waits for scheduled_at; null: not to be claimed';
-- Each statement writes these columns for the indexes. PostgreSQL would compile generated columns for each statement.
COMMENT ON COLUMN lq.records.held_key IS 'the key, while no second record may have it';
COMMENT ON COLUMN lq.records.indexed_status IS 'the status, where records are looked for by it and are not many: dispatched, failed, cancelled, expired, and running with an execution reference';
COMMENT ON COLUMN lq.records.semaphore_key IS 'the concurrency key, while the record counts against its limit: dispatched or running';
COMMENT ON COLUMN lq.records.semaphore_queue IS 'the queue, while the record counts against its limit; null as well where it was started before there was one';

CREATE INDEX records_ready ON lq.records (execution_backend, queue, (~priority), scheduled_at, id)
    WHERE ready AND concurrency_key IS NULL;
CREATE INDEX records_ready_keyed
    ON lq.records (execution_backend, queue, concurrency_key, (~priority), scheduled_at, id)
    WHERE ready AND concurrency_key IS NOT NULL;
CREATE INDEX records_semaphore_key ON lq.records (semaphore_key) WHERE semaphore_key IS NOT NULL;
CREATE INDEX records_semaphore_queue ON lq.records (semaphore_queue) WHERE semaphore_queue IS NOT NULL;
CREATE INDEX records_waiting ON lq.records (scheduled_at) INCLUDE (id, queue, execution_backend) WHERE NOT ready;
CREATE INDEX records_expiring ON lq.records (expires_at) WHERE ready IS NOT NULL AND expires_at IS NOT NULL;
CREATE INDEX records_stopping ON lq.records (id) WHERE cancel_requested;
CREATE INDEX records_blocked ON lq.records (id) INCLUDE (queue, execution_backend) WHERE blocked;
CREATE INDEX records_status ON lq.records (indexed_status, id) INCLUDE (queue, task_name)
    WHERE indexed_status IS NOT NULL;
CREATE INDEX records_key ON lq.records (key, id) WHERE key IS NOT NULL;
CREATE INDEX records_schedule ON lq.records (schedule, id) WHERE schedule IS NOT NULL;
CREATE UNIQUE INDEX records_held_key ON lq.records (held_key) WHERE held_key IS NOT NULL;

CREATE TABLE lq.workers (
    id text PRIMARY KEY,
    alive boolean NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    concurrency integer NOT NULL,
    queues text[],
    execution_backends text[] NOT NULL
) WITH (fillfactor = 50);

COMMENT ON COLUMN lq.workers.alive IS
    'false: declared dead, or gone; the row stays until no running record names the worker';

CREATE TABLE lq.queues (
    name text COLLATE "C" PRIMARY KEY,
    paused boolean NOT NULL,
    limits text,
    draining timestamptz
);

CREATE TABLE lq.schedules (
    name text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    body text NOT NULL
) WITH (fillfactor = 50);

COMMENT ON COLUMN lq.schedules.body IS 'the state as JSON; a change is kept if it comes from the current version';

CREATE TABLE lq.buckets (
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    full_at timestamptz NOT NULL,
    PRIMARY KEY (kind, name)
) WITH (fillfactor = 50);

CREATE INDEX buckets_full ON lq.buckets (full_at);

COMMENT ON TABLE lq.buckets IS 'the tokens of a rate; a bucket that is full is not kept';
