"""TLS as the address or a context says it; what cannot be trusted is refused."""

import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lq_core.contracts import a_record, opened
from lq_core.foundation.errors import StorageError
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers import PostgresServer
from servers.child_process import give_away
from servers.fixtures import Database


class Certificate(NamedTuple):
    """A certificate that signs itself, for the name localhost."""

    certificate: Path
    key: Path


def sign(folder: Path, name: str) -> Certificate:
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-out", made.certificate, "-keyout", made.key], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the server may read, which is another user."""
    with tempfile.TemporaryDirectory(prefix="lq-tls-") as place:
        yield Path(place)


@pytest.fixture(scope="module")
def trusted(folder: Path) -> Certificate:
    return sign(folder, "trusted")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Certificate:
    return sign(folder, "stranger")


@pytest.fixture(scope="module")
def server(folder: Path, trusted: Certificate, stranger: Certificate) -> Iterator[PostgresServer]:
    files = {"ssl_cert_file": str(trusted.certificate), "ssl_key_file": str(trusted.key)}
    give_away(folder)
    for file in folder.iterdir():
        give_away(file)
    with PostgresServer(settings={"ssl": "on", **files}) as server:
        yield server


def address(server: PostgresServer, options: str = "", *, host: str = "localhost") -> str:
    return f"{server.dsn().replace(server.host, host)}{options}"


async def is_encrypted(settings: PostgresConfig) -> bool:
    """Use the queue, and ask the server how it was spoken to."""
    async with opened(PostgresQueueBackend(settings=settings)) as backend:
        _ = await backend.insert([a_record()])
        rows = await backend.connections.fetch("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    return rows[0][0]


async def test_an_address_may_ask_for_tls(server: PostgresServer) -> None:
    assert await is_encrypted(PostgresConfig(dsn=address(server, "?sslmode=require")))
    assert not await is_encrypted(PostgresConfig(dsn=address(server, "?sslmode=disable")))


async def test_an_address_may_say_whom_to_trust(server: PostgresServer, trusted: Certificate) -> None:
    options = f"?sslmode=verify-full&sslrootcert={trusted.certificate}"

    assert await is_encrypted(PostgresConfig(dsn=address(server, options)))


async def test_a_context_may_say_whom_to_trust(server: PostgresServer, trusted: Certificate) -> None:
    context = ssl.create_default_context(cafile=str(trusted.certificate))

    assert await is_encrypted(PostgresConfig(dsn=address(server), ssl=context))


async def test_a_server_with_an_untrusted_certificate_is_refused(server: PostgresServer, stranger: Certificate) -> None:
    options = f"?sslmode=verify-full&sslrootcert={stranger.certificate}"

    with pytest.raises(StorageError, match="certificate verify failed"):
        _ = await is_encrypted(PostgresConfig(dsn=address(server, options)))


async def test_a_server_under_another_name_is_refused(server: PostgresServer, trusted: Certificate) -> None:
    options = f"?sslmode=verify-full&sslrootcert={trusted.certificate}"

    with pytest.raises(StorageError, match="IP address mismatch"):
        _ = await is_encrypted(PostgresConfig(dsn=address(server, options, host=server.host)))


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(database: Database) -> None:
    with pytest.raises(StorageError, match="rejected SSL upgrade"):
        _ = await is_encrypted(PostgresConfig(dsn=f"{database.dsn}?sslmode=require"))


async def test_channel_binding_is_replaced_by_a_certificate_that_is_verified(
    server: PostgresServer, trusted: Certificate
) -> None:
    options = "?sslmode=require&channel_binding=require"
    trusting = f"{options}&sslrootcert={trusted.certificate}"

    assert await is_encrypted(PostgresConfig(dsn=address(server, trusting)))
    with pytest.raises(StorageError, match="certificate verify failed"):
        _ = await is_encrypted(PostgresConfig(dsn=address(server, options)))
    with pytest.raises(StorageError, match="IP address mismatch"):
        _ = await is_encrypted(PostgresConfig(dsn=address(server, trusting, host=server.host)))


async def test_the_certificates_of_the_system_may_be_named(server: PostgresServer, trusted: Certificate) -> None:
    dsn = address(server, "?sslmode=verify-full&sslrootcert=system")

    with pytest.raises(StorageError, match="certificate verify failed"):
        _ = await is_encrypted(PostgresConfig(dsn=dsn))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(trusted.certificate))
        assert await is_encrypted(PostgresConfig(dsn=dsn))
