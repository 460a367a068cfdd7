"""What `lq doctor` asks."""

from typing import Final

# Whoever holds a snapshot, or has written, keeps every row that has been updated since: claims have to pass over them.
OLDEST_TRANSACTION: Final = """
SELECT extract(epoch FROM now() - xact_start)::double precision, pid, application_name, state
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid() AND datname = current_database()
ORDER BY xact_start LIMIT 1
"""

DEAD_ROWS: Final = """
SELECT n_dead_tup, n_live_tup, last_autovacuum::text FROM pg_stat_all_tables WHERE relid = 'lq.records'::regclass
"""

INDEXES: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'lq.records'::regclass AND i.indisvalid
"""

CONNECTIONS: Final = """
SELECT count(*),
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
