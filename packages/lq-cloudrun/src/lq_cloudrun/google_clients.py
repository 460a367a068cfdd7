"""
The only file that imports Google's clients: lazily, in a thread, since the import and the credentials take time.

Both clients share one channel. The extra ``dispatch`` brings the packages.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from lq_cloudrun.clients import ExecutionsClient, JobsClient
from lq_core.errors import ConfigurationError


class GoogleClients(NamedTuple):
    """Google's own asynchronous clients, connected."""

    jobs: JobsClient
    executions: ExecutionsClient
    close: Callable[[], Awaitable[None]]


async def connect(endpoint: str | None) -> GoogleClients:
    """
    Connect to Google's service, or to the emulator at *endpoint*.

    Raises ConfigurationError when the packages or the credentials are missing.
    """
    try:
        join = await asyncio.to_thread(_load, endpoint)
    except ImportError as error:
        raise ConfigurationError(
            f"Cloud Run executions need Google's client ({error}). Install it with: pip install 'lq-cloudrun[dispatch]'"
        ) from error
    return join()  # In the event loop that uses it: a channel belongs to one.


def _load(endpoint: str | None) -> Callable[[], GoogleClients]:
    import google.auth.exceptions  # noqa: PLC0415 -- 300 ms and 60 MB that only a dispatcher pays
    import grpc.aio  # noqa: PLC0415 -- as above
    from google.cloud.run_v2 import ExecutionsAsyncClient, JobsAsyncClient  # noqa: PLC0415 -- as above
    from google.cloud.run_v2.services.executions.transports import (  # noqa: PLC0415 -- as above
        ExecutionsGrpcAsyncIOTransport,
    )
    from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport  # noqa: PLC0415 -- as above

    credentials: Any = None
    if endpoint is None:
        try:
            find: Callable[..., tuple[Any, Any]] = google.auth.default  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- without types
            credentials, _ = find(scopes=JobsGrpcAsyncIOTransport.AUTH_SCOPES)
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise ConfigurationError(
                f"There are no Google credentials here: {error} "
                "Run `gcloud auth application-default login`, or run on a machine with a service account."
            ) from error

    create: Callable[..., Any] = JobsGrpcAsyncIOTransport.create_channel  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- without types

    def join() -> GoogleClients:
        channel: Any = (
            grpc.aio.insecure_channel(endpoint)
            if endpoint
            else create(
                JobsAsyncClient.DEFAULT_ENDPOINT, credentials=credentials, scopes=JobsGrpcAsyncIOTransport.AUTH_SCOPES
            )
        )
        jobs: Any = JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel))
        executions: Any = ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel))
        return GoogleClients(jobs, executions, channel.close)

    return join
