"""
Whose fault an error of PostgreSQL is, by its SQLSTATE: one table for the code and its tests.

Only an error of the record ends a record. All other errors leave it as it is, and the caller tries again.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Blame(StrEnum):
    """Whose fault an error is, and so what happens next."""

    RECORD = "record"
    """The same statement would fail again: this record fails, alone."""

    CONNECTION = "connection"
    """Another connection may work: the pool closes this one and the idle ones."""

    SERVER = "server"
    """The same statement may work later, on the same connection."""

    PROGRAM = "program"
    """A setting, a role, the schema or lq itself must change first."""


class Verdict(NamedTuple):
    """Whose fault an error is, and what a person can do."""

    blame: Blame
    advice: str = ""


_CREDENTIALS: Final = "Check the user and the password of the DSN."
_POOLER: Final = "This is PgBouncer in transaction mode: set PostgresConfig(statement_cache=False)."
_SETTINGS: Final = "Check the settings, the role and the schema with `lq doctor`."

NOTIFY_QUEUE_FULL: Final = "54000 NOTIFY"
"""The key of a full NOTIFY queue, which has the SQLSTATE of a value that is too large."""

READ_ONLY: Final = "25006"

VERDICTS: Final = {
    "01": Verdict(Blame.SERVER),
    "02": Verdict(Blame.PROGRAM, _SETTINGS),
    "03": Verdict(Blame.PROGRAM, _SETTINGS),
    "08": Verdict(Blame.CONNECTION),
    "08P01": Verdict(Blame.CONNECTION, "If this is PgBouncer, set PostgresConfig(statement_cache=False)."),
    "09": Verdict(Blame.PROGRAM, _SETTINGS),
    "0A": Verdict(Blame.PROGRAM, "Is this PostgreSQL 13 or newer?"),
    "0B": Verdict(Blame.CONNECTION),
    "0F": Verdict(Blame.PROGRAM, _SETTINGS),
    "0L": Verdict(Blame.PROGRAM, _SETTINGS),
    "0P": Verdict(Blame.PROGRAM, _CREDENTIALS),
    "0Z": Verdict(Blame.PROGRAM, _SETTINGS),
    "10": Verdict(Blame.PROGRAM, _SETTINGS),
    "20": Verdict(Blame.PROGRAM, _SETTINGS),
    "21": Verdict(Blame.PROGRAM, _SETTINGS),
    "22": Verdict(Blame.RECORD),
    "22023": Verdict(Blame.PROGRAM, _SETTINGS),  # A value of a setting of the session.
    "23": Verdict(Blame.RECORD),
    "24": Verdict(Blame.CONNECTION),
    "25": Verdict(Blame.CONNECTION),
    READ_ONLY: Verdict(Blame.CONNECTION, "The server is a standby or read-only: use the address of the primary."),
    "26": Verdict(Blame.CONNECTION, _POOLER),
    "27": Verdict(Blame.PROGRAM, _SETTINGS),
    "28": Verdict(Blame.PROGRAM, _CREDENTIALS),
    "2B": Verdict(Blame.PROGRAM, _SETTINGS),
    "2D": Verdict(Blame.PROGRAM, _SETTINGS),
    "2F": Verdict(Blame.PROGRAM, _SETTINGS),
    "34": Verdict(Blame.CONNECTION),
    "38": Verdict(Blame.PROGRAM, _SETTINGS),
    "39": Verdict(Blame.PROGRAM, _SETTINGS),
    "3B": Verdict(Blame.CONNECTION),
    "3D": Verdict(Blame.PROGRAM, "Create the database, or correct its name in the DSN."),
    "3F": Verdict(Blame.PROGRAM, _SETTINGS),
    "40": Verdict(Blame.SERVER),
    "42": Verdict(Blame.PROGRAM, _SETTINGS),
    "42501": Verdict(Blame.PROGRAM, "Grant the role the permissions that docs/postgres.md lists."),
    "42P05": Verdict(Blame.CONNECTION, _POOLER),
    "44": Verdict(Blame.RECORD),
    "53": Verdict(Blame.SERVER),
    "53100": Verdict(Blame.SERVER, "Free space on the database server."),
    "53200": Verdict(Blame.SERVER, "The database server is out of memory."),
    "53300": Verdict(Blame.SERVER, "Lower PostgresConfig(max_connections=...), or use PgBouncer."),
    "54": Verdict(Blame.RECORD),
    "54001": Verdict(Blame.PROGRAM, _SETTINGS),
    "54011": Verdict(Blame.PROGRAM, _SETTINGS),
    "54023": Verdict(Blame.PROGRAM, _SETTINGS),
    NOTIFY_QUEUE_FULL: Verdict(
        Blame.SERVER, "A session that listens has an old transaction open: see `lq doctor`. Or set notify=False."
    ),
    "55": Verdict(Blame.SERVER),
    "55P02": Verdict(Blame.PROGRAM, _SETTINGS),
    "57": Verdict(Blame.CONNECTION),
    "57014": Verdict(Blame.SERVER, "The statement took too long: see `lq doctor`."),
    "57P04": Verdict(Blame.CONNECTION, "The database was dropped."),
    "58": Verdict(Blame.SERVER, "See the log of the database server."),
    "72": Verdict(Blame.SERVER),
    "F0": Verdict(Blame.SERVER, "See the log of the database server."),
    "HV": Verdict(Blame.PROGRAM, _SETTINGS),
    "P0": Verdict(Blame.PROGRAM, "Is there a trigger on the tables of lq?"),
    "XX": Verdict(Blame.SERVER, "See the log of the database server."),
}
"""Every class of PostgreSQL, by its first two characters, and single codes that differ from their class."""

UNKNOWN: Final = Verdict(Blame.SERVER)
"""For a code that PostgreSQL does not have, as of a pooler."""


def key_of(sqlstate: str, *, raised_by: str | None) -> str:
    """Return the key of ``VERDICTS`` for an error; *raised_by* is the function of the server that raised it."""
    if sqlstate == "54000" and raised_by == "PreCommit_Notify":
        return NOTIFY_QUEUE_FULL
    return sqlstate if sqlstate in VERDICTS else sqlstate[:2]
