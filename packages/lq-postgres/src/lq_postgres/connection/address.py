"""
The address of a database, as providers and other programs write it.

asyncpg passes options that it does not know on to the server, which refuses them. For those of libpq, lq does what they
ask for, leaves out what changes nothing here, and refuses what it cannot keep.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from lq_core.foundation.errors import ConfigurationError

SCHEME: Final = re.compile(r"(postgres(?:ql)?)(?:\+\w+)?://")

WITHOUT_EFFECT: Final = frozenset(
    (
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("client_encoding", "sslcompression", "sslsni", "load_balance_hosts", "gssencmode"),
        *("gssdelegation", "min_protocol_version", "max_protocol_version", "sslkeylogfile", "channel_binding"),
        *("connection_limit", "pool_timeout", "socket_timeout", "schema"),
    )
)
"""
Options of libpq, and in the last line of Prisma, that change nothing here.

lq itself notices connections that are dead, always uses UTF-8, and has its own pool and schema.
"""

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("require_auth", "requirepeer", "replication", "sslcertmode"), "asyncpg does not have it"),
    "requiressl": "Write sslmode=require",
    "hostaddr": "Write the IP address as the host",
    "sslaccept": "It belongs to Prisma: write sslmode=verify-full, or sslmode=require for any certificate",
    **dict.fromkeys(("unix_sock", "unix_socket"), "Write the folder of the socket: host=/cloudsql/INSTANCE"),
}
"""Options that lq refuses, each with advice."""

ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "primary", "read-write"),
}
"""The values that lq can keep: it does not encrypt by GSSAPI, and it writes, which a standby refuses."""

_CACHES: Final = ("statement_cache_size", "prepared_statement_cache_size")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_TLS: Final[Mapping[str, str]] = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_IPV6: Final = re.compile(r"\[(?P<host>[^\]]+)\](?::(?P<port>\d+))?")
UNREADABLE: Final = (
    "The address cannot be read. Write it as postgresql://user:password@host:port/database. In the password, write "
    "each of @ : / ? # [ ] % as % and its code, for example %40 for @, or use PostgresConfig(password=...)."
)


class Place(NamedTuple):
    """One server of an address."""

    host: str
    """A name, an IP address, or the folder of a Unix socket."""

    port: int

    @property
    def is_socket(self) -> bool:
        """Whether this is a Unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        return f"{self.host}/.s.PGSQL.{self.port}" if self.is_socket else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address, taken apart: the part for asyncpg, and what lq does itself."""

    dsn: str | None
    """The address for asyncpg; None if the environment variables of libpq say everything."""

    places: tuple[Place, ...]
    """The servers, in order; none if asyncpg looks for them, for example in a service file."""

    options: Mapping[str, str]
    """The options that lq handles."""

    @property
    def application_name(self) -> str | None:
        """The name that the address or ``PGAPPNAME`` gives to the connections."""
        return (
            self.options.get("application_name")
            or os.environ.get("PGAPPNAME")
            or self.options.get("fallback_application_name")
        )

    @property
    def connect_timeout(self) -> float | None:
        """Seconds to connect to one server, if the address says so."""
        return float(self.options.get("connect_timeout") or 0) or None

    @property
    def keeps_sessions(self) -> bool:
        """False if the address says that a pooler is in between, as in ``pgbouncer=true``."""
        return self.options.get("pgbouncer") != "true" and all(self.options.get(each) != "0" for each in _CACHES)

    @property
    def must_be_writable(self) -> bool:
        """Whether one of several servers must be found that can be written to."""
        return len(self.places) > 1 and not (
            "target_session_attrs" in self.options or os.environ.get("PGTARGETSESSIONATTRS")
        )

    @cached_property
    def ssl(self) -> SSLContext | None:
        """
        A context that verifies the server by the certificates of the system, if asyncpg cannot do what is asked for.

        asyncpg has no channel binding. A certificate that is verified also keeps others out of the middle.
        """
        options = self.options
        is_bound = options.get("channel_binding") == "require" and options.get("sslmode") != "verify-full"
        if not is_bound and options.get("sslrootcert") != "system":
            return None
        authorities = options.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
        context = create_default_context(cafile=None if authorities == "system" else authorities)
        if certificate := options.get("sslcert"):
            context.load_cert_chain(certificate, options.get("sslkey"), options.get("sslpassword") or "")
        return context

    def missing_files(self) -> str:
        """List the certificates and keys of the address that do not exist, as ``name=path``."""
        files = {name: self.options[name] for name in _FILES if self.options.get(name, "system") != "system"}
        return ", ".join(f"{name}={path}" for name, path in files.items() if not Path(path).exists())


def read_address(address: str | None, *, source: str = "dsn") -> Address:
    """
    Take an address apart; None stands for the environment variables of libpq.

    Raises ConfigurationError if the address cannot be read, or *source* asks for what lq cannot keep.
    """
    dsn = "" if address is None else SCHEME.sub(r"\1://", address, count=1)
    base, mark, query = dsn.partition("?")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
        netloc = urlsplit(base).netloc
        hosts = options.pop("host", "") or netloc[netloc.rfind("@") + 1 :]
        is_in_file = "service" in options or "PGSERVICE" in os.environ
        hosts = hosts or ("" if is_in_file else os.environ.get("PGHOST", ""))
        places = _places(hosts, options.pop("port", "") or os.environ.get("PGPORT", ""))
        _ = float(options.get("connect_timeout") or 0)
    except ValueError:  # Its message may contain a part of the password.
        raise ConfigurationError(UNREADABLE) from None
    _check(options, source)
    if "ssl" in options:
        value = options.pop("ssl")
        options.setdefault("sslmode", _TLS.get(value, value))
    kept = {name: value for name, value in options.items() if name not in _HANDLED and value}
    return Address(dsn=f"{base}{mark}{urlencode(kept)}" or None, places=places, options=options)


_HANDLED: Final = WITHOUT_EFFECT | {
    *("application_name", "fallback_application_name", "connect_timeout", "pgbouncer", *_CACHES)
}


def _check(options: Mapping[str, str], source: str) -> None:
    for name, value in options.items():
        if name in REFUSED:
            raise ConfigurationError(f"{source} has the option {name}, which lq does not support. {REFUSED[name]}.")
        if value and value not in ALLOWED.get(name, (value,)):
            raise ConfigurationError(
                f"{source} has {name}={value}, which lq does not support; it can be {', '.join(ALLOWED[name])}."
            )
    if options.get("channel_binding") == "require" and options.get("sslmode") == "disable":
        raise ConfigurationError(f"{source} has channel_binding=require, which needs TLS, and sslmode=disable.")


def _places(hosts: str, ports: str) -> tuple[Place, ...]:
    """Read a list of hosts; a port beside its host comes before the list of ports. Raises ValueError."""
    if not hosts:
        return ()
    names, numbers = hosts.split(","), [int(each or 5432) for each in ports.split(",")] if ports else [5432]
    if len(numbers) not in {1, len(names)}:
        raise ValueError(ports)
    numbers = numbers * len(names) if len(numbers) == 1 else numbers
    return tuple(_place(name, number) for name, number in zip(names, numbers, strict=True))


def _place(host: str, port: int) -> Place:
    if (path := unquote(host)).startswith("/"):
        return Place(path, port)  # The name of a socket of Cloud SQL has colons.
    if found := _IPV6.fullmatch(host):
        return Place(found["host"], int(found["port"] or port))
    name, _, number = host.partition(":")
    return Place(unquote(name) or "localhost", int(number or port))
