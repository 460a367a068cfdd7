"""Storing new records."""

from typing import Final

# A record that is scheduled for the moment of its creation is due, even if the clock of the database is behind.
# $1 to $6 the columns of `s`, $7 to $24 common values, $25 moment, $26 and $27 wake-up.
_ALIKE: Final = """
INSERT INTO lq.records (
  id, arguments, created_at, scheduled_at, key, held_key, metadata,
  task_name, queue, priority, execution_backend, execution_profile, key_released, retries, backoff, timeout,
  expires_at, schedule, retry_rules, key_scope, key_until, concurrency_key, limits, after, blocked, ready,
  status, epoch, attempt, retry_count, losses, cancel_requested
)
SELECT
  s.id, s.arguments, s.created_at, s.scheduled_at, s.key, CASE WHEN NOT $12 THEN s.key END, s.metadata,
  $7, $8, $9, $10, $11, $12, $13, $14, $15,
  $16::timestamptz, $17, $18, $19, $20::timestamptz, $21, $22, $23, $24,
  CASE WHEN NOT $24 THEN s.scheduled_at <= greatest(s.created_at, coalesce($25::timestamptz, now())) END,
  'pending', 0, 0, 0, 0, false
FROM {rows} AS s(id, arguments, created_at, scheduled_at, key, metadata)
"""

_ROWS: Final = "unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[])"
_ROWS_OF_ONE_MOMENT: Final = """(
  SELECT u.id, u.arguments, $3::timestamptz, $4::timestamptz, $5::text, $6::text
  FROM unnest($1::uuid[], $2::text[]) AS u(id, arguments)
)"""
_ROW: Final = "(VALUES ($1::uuid, $2::text, $3::timestamptz, $4::timestamptz, $5::text, $6::text))"

_UNLESS_HELD: Final = """
  ON CONFLICT (held_key) WHERE held_key IS NOT NULL DO NOTHING
  RETURNING id, ready
)
SELECT array_agg(id),
  CASE WHEN bool_or(ready) AND {channel}::text IS NOT NULL THEN pg_notify({channel}, {sender})::text END
FROM stored
"""

# Without keys, a statement does not read the table, so the role needs only INSERT.
INSERT_ALIKE: Final = """WITH stored AS ({alike})
SELECT CASE WHEN NOT $24 AND bool_or(t.scheduled_at <= greatest(t.created_at, coalesce($25::timestamptz, now())))
  AND $26::text IS NOT NULL THEN pg_notify($26, $27)::text END
FROM unnest($3::timestamptz[], $4::timestamptz[]) AS t(created_at, scheduled_at)
""".replace("{alike}", _ALIKE.replace("{rows}", _ROWS))

_WAKE_UP: Final = """CASE
  WHEN NOT $24 AND $4::timestamptz <= greatest($3::timestamptz, coalesce($25::timestamptz, now()))
  AND $26::text IS NOT NULL THEN pg_notify($26, $27)::text END
"""

# Records that differ only in id and arguments. Arrays of moments would take a third of the time.
INSERT_ALIKE_AT_ONCE: Final = f"WITH stored AS ({_ALIKE.replace('{rows}', _ROWS_OF_ONE_MOMENT)}) SELECT {_WAKE_UP}"

# Most callers store one record. Arrays and a second step would take a fifth of the time.
INSERT_ONE: Final = f"{_ALIKE.replace('{rows}', _ROW)} RETURNING {_WAKE_UP}"

INSERT_ALIKE_KEYED: Final = (
    "WITH stored AS (" + _ALIKE.replace("{rows}", _ROWS) + _UNLESS_HELD.format(channel="$26", sender="$27")
)

INDEXED_STATUS: Final = """CASE
        WHEN s.status IN ('dispatched', 'failed', 'cancelled', 'expired') THEN s.status
        WHEN s.status = 'running' AND s.execution_ref IS NOT NULL THEN s.status
      END"""

_MIXED: Final = """
WITH given AS MATERIALIZED (
  SELECT s.*,
    CASE WHEN NOT s.key_released THEN s.key END AS held_key,
    CASE WHEN s.status IN ('running', 'dispatched') THEN s.concurrency_key END AS semaphore_key,
    {indexed_status} AS indexed_status,
    CASE
      WHEN s.status = 'pending' AND NOT s.cancel_requested AND NOT s.blocked
      THEN s.scheduled_at <= greatest(s.created_at, coalesce($40::timestamptz, now()))
    END AS ready
  FROM {given records}
), stored AS (
  INSERT INTO lq.records ({columns}, held_key, semaphore_key, indexed_status, ready) SELECT * FROM given
"""

INSERT_MIXED: Final = """{mixed})
SELECT CASE WHEN bool_or(ready) AND $41::text IS NOT NULL THEN pg_notify($41, $42)::text END FROM given
""".replace("{mixed}", _MIXED)

INSERT_MIXED_KEYED: Final = _MIXED + _UNLESS_HELD.format(channel="$41", sender="$42")

# The holders of these keys, and whether each has lapsed, as in lifecycle.has_lapsed.
HOLDERS: Final = """
SELECT
  coalesce(r.key_until, CASE WHEN r.status = 'pending' THEN r.expires_at END) <= coalesce($2::timestamptz, now()),
  r.key, {record}
FROM lq.records r WHERE r.held_key = ANY($1::text[])
"""

# A record that has lapsed loses its key.
RELEASE_KEY: Final = """
UPDATE lq.records SET key_released = true, held_key = NULL
WHERE held_key = ANY($1::text[])
  AND coalesce(key_until, CASE WHEN status = 'pending' THEN expires_at END) <= coalesce($2::timestamptz, now())
"""

# The release of a key does not raise the epoch, so the statement checks it too. A record that is not rescheduled keeps
# its turn; with a fairness key, another one is promoted, which gives it a turn.
AMEND: Final = """
WITH amended AS (
  UPDATE lq.records r
  SET epoch = s.epoch, arguments = s.arguments, priority = s.priority, metadata = s.metadata,
      scheduled_at = s.scheduled_at, expires_at = s.expires_at,
      ready = CASE
        WHEN NOT r.cancel_requested AND NOT r.blocked THEN r.ready AND r.scheduled_at = s.scheduled_at
          OR s.scheduled_at <= coalesce($10::timestamptz, now())
            AND strpos(coalesce(s.metadata, ''), '.fairness_key":') = 0
      END
  FROM {given amendments}
  WHERE r.id = s.id AND r.epoch = s.expected AND r.key_released = s.key_released
  RETURNING r.id, r.ready
)
SELECT array_agg(id), CASE WHEN bool_or(ready) AND $11::text IS NOT NULL THEN pg_notify($11, $12)::text END
FROM amended
"""
