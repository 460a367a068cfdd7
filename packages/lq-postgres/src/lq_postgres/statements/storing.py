"""Storing new records."""

from typing import Final

# What is scheduled for the moment of its creation is due, also by a database whose clock is behind.
# $1 id, $2 arguments, $3 created_at, $4 scheduled_at, $5 key, $6 metadata; then what is common, moment, wake-up.
_ALIKE: Final = """
INSERT INTO lq.records (
  id, arguments, created_at, scheduled_at, key, held_key, metadata,
  task_name, queue, priority, execution_backend, execution_profile, key_released, retries, backoff, timeout,
  expires_at, schedule, retry_rules, key_scope, key_until, concurrency_key, limits, after, blocked, ready,
  status, epoch, attempt, retry_count, losses, cancel_requested
)
SELECT
  t.id, t.arguments, t.created_at, t.scheduled_at, t.key, CASE WHEN NOT $12 THEN t.key END, t.metadata,
  $7, $8, $9, $10, $11, $12, $13, $14, $15,
  $16, $17, $18, $19, $20, $21, $22, $23, $24,
  CASE WHEN NOT $24 THEN t.scheduled_at <= greatest(t.created_at, coalesce($25::timestamptz, now())) END,
  'pending', 0, 0, 0, 0, false
FROM {rows} AS t(id, arguments, created_at, scheduled_at, key, metadata)
"""

_ROWS: Final = "unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])"
_ROWS_OF_ONE_MOMENT: Final = """(
  SELECT u.id, u.arguments, $3::timestamptz, $4::timestamptz, $5::text, $6::text
  FROM unnest($1::uuid[], $2::text[]) AS u(id, arguments)
)"""
_ROW: Final = "(VALUES ($1::uuid, $2::text, $3::timestamptz, $4::timestamptz, $5::text, $6::text))"

_TELL_IDS: Final = """
SELECT array_agg(id), CASE WHEN bool_or(ready) THEN pg_notify($26, $27)::text END FROM stored
"""

# Without keys nothing is read from the table, so that a role needs no more than INSERT on it.
INSERT_ALIKE: Final = (
    "WITH stored AS ("
    + _ALIKE.replace("{rows}", _ROWS)
    + """)
SELECT CASE WHEN NOT $24 AND bool_or(t.scheduled_at <= greatest(t.created_at, coalesce($25::timestamptz, now())))
  THEN pg_notify($26, $27)::text END
FROM unnest($3::timestamptz[], $4::timestamptz[]) AS t(created_at, scheduled_at)
"""
)

# Calls that are enqueued together differ in id and arguments alone: arrays of moments cost a third of the whole.
INSERT_ALIKE_AT_ONCE: Final = (
    "WITH stored AS ("
    + _ALIKE.replace("{rows}", _ROWS_OF_ONE_MOMENT)
    + """)
SELECT CASE WHEN NOT $24 AND $4 <= greatest($3, coalesce($25::timestamptz, now()))
  THEN pg_notify($26, $27)::text END
"""
)

# One record is what most callers store: arrays, and a second step, cost the server a fifth of the whole.
INSERT_ONE: Final = (
    _ALIKE.replace("{rows}", _ROW)
    + """
RETURNING CASE WHEN NOT $24 AND $4 <= greatest($3, coalesce($25::timestamptz, now()))
  THEN pg_notify($26, $27)::text END
"""
)

INSERT_ALIKE_KEYED: Final = (
    "WITH stored AS ("
    + _ALIKE.replace("{rows}", _ROWS)
    + "ON CONFLICT (held_key) WHERE held_key IS NOT NULL DO NOTHING\nRETURNING id, ready\n)"
    + _TELL_IDS
)

_MIXED: Final = """
WITH stored AS (
  INSERT INTO lq.records (
    id, task_name, arguments, queue, priority, execution_backend, execution_profile, key, key_released, retries,
    backoff, timeout, expires_at, schedule, metadata, created_at, scheduled_at, status, epoch, attempt,
    retry_count, losses, worker_id, execution_ref, log_url, cancel_requested, started_at, finished_at, progress,
    result, error, history, retry_rules, key_scope, key_until, concurrency_key, limits, after, blocked,
    held_key, permit_key, shelf, ready
  )
  SELECT
    t.*,
    CASE WHEN NOT t.key_released THEN t.key END,
    CASE WHEN t.status IN ('running', 'dispatched') THEN t.concurrency_key END,
    CASE
    WHEN t.status IN ('dispatched', 'failed', 'cancelled', 'expired') THEN t.status
    WHEN t.status = 'running' AND t.execution_backend NOT IN ('local', 'immediate') THEN t.status
    END,
    CASE WHEN t.status = 'pending' AND NOT t.cancel_requested AND NOT t.blocked
    THEN t.scheduled_at <= greatest(t.created_at, coalesce($40::timestamptz, now())) END
  FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::boolean[],
    $10::integer[], $11::text[], $12::double precision[], $13::timestamptz[], $14::text[], $15::text[],
    $16::timestamptz[], $17::timestamptz[], $18::text[], $19::bigint[], $20::integer[], $21::integer[],
    $22::integer[], $23::text[], $24::text[], $25::text[], $26::boolean[], $27::timestamptz[], $28::timestamptz[],
    $29::text[], $30::text[], $31::text[], $32::text[], $33::text[], $34::text[], $35::timestamptz[], $36::text[],
    $37::text[], $38::text[], $39::boolean[]
  ) AS t(
    id, task_name, arguments, queue, priority, execution_backend, execution_profile, key, key_released, retries,
    backoff, timeout, expires_at, schedule, metadata, created_at, scheduled_at, status, epoch, attempt,
    retry_count, losses, worker_id, execution_ref, log_url, cancel_requested, started_at, finished_at, progress,
    result, error, history, retry_rules, key_scope, key_until, concurrency_key, limits, after, blocked
  )
"""

INSERT_MIXED: Final = (
    _MIXED
    + """)
SELECT CASE WHEN bool_or(
    t.status = 'pending' AND NOT t.cancel_requested AND NOT t.blocked
    AND t.scheduled_at <= greatest(t.created_at, coalesce($40::timestamptz, now()))
  ) THEN pg_notify($41, $42)::text END
FROM unnest($18::text[], $26::boolean[], $39::boolean[], $16::timestamptz[], $17::timestamptz[])
  AS t(status, cancel_requested, blocked, created_at, scheduled_at)
"""
)

INSERT_MIXED_KEYED: Final = (
    _MIXED
    + """
  ON CONFLICT (held_key) WHERE held_key IS NOT NULL DO NOTHING
  RETURNING id, ready
)
SELECT array_agg(id), CASE WHEN bool_or(ready) THEN pg_notify($41, $42)::text END FROM stored
"""
)

# Who holds these keys, and who has lapsed, as lifecycle.has_lapsed says.
HOLDERS: Final = """
SELECT
  coalesce(r.key_until, CASE WHEN r.status = 'pending' THEN r.expires_at END) <= coalesce($2::timestamptz, now()),
  r.key, {record}
FROM lq.records r WHERE r.held_key = ANY($1::text[])
"""

# Whoever asks for the key of a record that has lapsed may have it.
LET_GO: Final = """
UPDATE lq.records SET key_released = true, held_key = NULL
WHERE held_key = ANY($1::text[])
  AND coalesce(key_until, CASE WHEN status = 'pending' THEN expires_at END) <= coalesce($2::timestamptz, now())
"""

# Pending records that ask for something else. Letting go of a key does not raise the epoch, so it is looked at too.
AMEND: Final = """
WITH amended AS (
  UPDATE lq.records r
  SET epoch = s.epoch, arguments = s.arguments, priority = s.priority, metadata = s.metadata,
      scheduled_at = s.scheduled_at, expires_at = s.expires_at,
      ready = CASE
        WHEN NOT r.cancel_requested AND NOT r.blocked THEN s.scheduled_at <= coalesce($9::timestamptz, now())
      END
  FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::timestamptz[]
  ) AS s(id, expected, epoch, arguments, priority, metadata, scheduled_at, expires_at)
  WHERE r.id = s.id AND r.epoch = s.expected AND NOT r.key_released
  RETURNING r.id, r.ready
)
SELECT array_agg(id), CASE WHEN bool_or(ready) THEN pg_notify($10, $11)::text END FROM amended
"""
