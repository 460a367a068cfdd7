"""The token with which the account of this container signs in to Cloud SQL or AlloyDB, in place of a password."""

import os
import threading
import time
from typing import Final

from msgspec import DecodeError, Struct, json

from lq_core.foundation.errors import StorageError

HOST: Final = "metadata.google.internal"
RENEW_BEFORE: Final = 300.0
"""Seconds before its end at which a token is replaced. Google's server returns another one by then."""

TIMEOUT: Final = 5.0


class _Token(Struct):
    access_token: str
    expires_in: float


_lock: Final = threading.Lock()
_kept: dict[str, tuple[str, float]] = {}
"""The token of each metadata server, and when to replace it."""


def database_token() -> str:
    """
    Return a token of this machine's service account: ``PostgresConfig(password=database_token)``.

    lq calls it for each new connection. It asks the metadata server of Google Cloud when the last token nears its
    end, and needs no library of Google. Raises StorageError where there is no such server.
    """
    host = os.environ.get("GCE_METADATA_HOST", HOST)
    with _lock:
        token, replace_at = _kept.get(host, ("", 0.0))
        if time.monotonic() >= replace_at:
            found = _ask(host)
            token = found.access_token
            _kept[host] = token, time.monotonic() + max(0.0, found.expires_in - RENEW_BEFORE)
        return token


def _ask(host: str) -> _Token:
    from http.client import HTTPException  # noqa: PLC0415 -- a tenth of the start of a container that needs no token
    from urllib.request import ProxyHandler, Request, build_opener  # noqa: PLC0415 -- as above

    address = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    request = Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT) as answer:
            return json.decode(answer.read(), type=_Token)
    except (OSError, HTTPException, DecodeError) as error:
        raise StorageError(
            f"The metadata server {host} gives no token for the database: {error}. database_token() works on Google "
            "Cloud; elsewhere, give PostgresConfig another password."
        ) from error
