"""The token for the database: from the metadata server of Google Cloud, kept until it nears its end."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from lq_cloudrun import database_token
from lq_core import StorageError


class Metadata(BaseHTTPRequestHandler):
    """Gives another token at each call, as long as the caller says that it knows whom it asks."""

    tokens = 0
    expires_in = 3600.0

    def do_GET(self) -> None:
        if self.headers.get("Metadata-Flavor") != "Google" or not self.path.endswith("/default/token"):
            self.send_error(403)
            return
        type(self).tokens += 1
        body = json.dumps(
            {"access_token": f"token-{self.tokens}", "expires_in": self.expires_in, "token_type": "Bearer"}
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the base class
        """Write nothing."""


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Metadata]]:
    handler = type("Handler", (Metadata,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{server.server_port}")
        yield handler
        server.shutdown()
        thread.join()


def test_a_token_is_kept_while_it_is_good(metadata: type[Metadata]) -> None:
    assert [database_token(), database_token()] == ["token-1", "token-1"]


def test_a_token_that_nears_its_end_is_renewed(metadata: type[Metadata]) -> None:
    metadata.expires_in = 200

    assert [database_token(), database_token()] == ["token-1", "token-2"]


def test_elsewhere_the_error_says_what_to_do(metadata: type[Metadata], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")

    with pytest.raises(StorageError, match="give PostgresConfig another password"):
        database_token()
