"""The states of schedules."""

from typing import Final

SCHEDULES: Final = """
SELECT body FROM lq.schedules ORDER BY name
"""

ADD: Final = """
INSERT INTO lq.schedules (name, version, body) VALUES ($1, $2, $3)
ON CONFLICT (name) DO NOTHING
RETURNING name
"""

CHANGE: Final = """
UPDATE lq.schedules SET version = $2, body = $3
WHERE name = $1 AND version = $2 - 1
RETURNING name
"""

STORED: Final = """
SELECT r.id FROM lq.records r WHERE r.id = ANY($1::uuid[])
"""
