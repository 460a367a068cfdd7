"""
Creates Google's clients as the configuration says, or takes those of the application.

The packages of the extra ``dispatch`` are imported late and in a thread, because that and the credentials take time.
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, cast

from lq_cloudrun.clients import CloudRunClients
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.new_thread import in_new_thread

UNLIMITED: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""
Without these options of Google's own channels, gRPC refuses an answer of more than 4 MiB, which a page of executions
with large environments is (google.cloud.run_v2.services.executions.transports.grpc_asyncio).
"""


def check_request(request: dict[str, Any]) -> None:
    """Build the message of a request, if Google's client is there. Raises ValueError or TypeError if it cannot."""
    package: Any = sys.modules.get("google.cloud.run_v2")
    if package is not None:
        package.RunJobRequest(request)


async def connect(config: CloudRunExecutionConfig) -> CloudRunClients:
    """
    Connect to Google's service or to an emulator, or call the function that the configuration names.

    Raises ConfigurationError if the packages or the credentials are missing, or the function makes something else.
    """
    if config.clients is not None:
        made = cast("object", config.clients())
        clients: object = await made if inspect.isawaitable(made) else made
        if not isinstance(clients, CloudRunClients):
            raise ConfigurationError(
                f"clients={config.clients!r} has made {clients!r}; it must make a CloudRunClients."
            )
        return clients
    try:
        join = await in_new_thread(_load, config)
    except ImportError as error:
        raise ConfigurationError(
            f"Cloud Run executions need Google's client ({error}). Install it with: pip install 'lq-cloudrun[dispatch]'"
        ) from error
    return join()  # In the event loop that uses it, because a channel belongs to one loop.


def _load(config: CloudRunExecutionConfig) -> Callable[[], CloudRunClients]:
    import grpc.aio  # noqa: PLC0415 -- 300 ms and 60 MB that only a dispatcher needs
    from google.cloud import run_v2  # noqa: PLC0415 -- as above
    from google.cloud.run_v2.services.executions import transports as executions  # noqa: PLC0415 -- as above
    from google.cloud.run_v2.services.jobs import transports as jobs  # noqa: PLC0415 -- as above
    from google.cloud.run_v2.services.tasks import transports as tasks  # noqa: PLC0415 -- as above
    from google.cloud.run_v2.services.worker_pools import transports as pools  # noqa: PLC0415 -- as above

    kind: Any = jobs.JobsGrpcAsyncIOTransport
    credentials = None if config.endpoint else credentials_for(config, scopes=kind.AUTH_SCOPES)
    host = config.endpoint or config.api_host
    if host is None:
        host = f"run.{config.universe_domain or getattr(credentials, 'universe_domain', None) or 'googleapis.com'}"

    def join() -> CloudRunClients:
        channel: Any = (
            grpc.aio.insecure_channel(host, options=UNLIMITED)
            if config.endpoint
            else kind.create_channel(host, credentials=credentials, scopes=kind.AUTH_SCOPES, options=UNLIMITED)
        )
        for_jobs: Any = run_v2.JobsAsyncClient(transport=kind(channel=channel, host=host))
        for_executions: Any = run_v2.ExecutionsAsyncClient(
            transport=executions.ExecutionsGrpcAsyncIOTransport(channel=channel, host=host)
        )
        for_tasks: Any = run_v2.TasksAsyncClient(transport=tasks.TasksGrpcAsyncIOTransport(channel=channel, host=host))
        for_pools: Any = run_v2.WorkerPoolsAsyncClient(
            transport=pools.WorkerPoolsGrpcAsyncIOTransport(channel=channel, host=host)
        )
        return CloudRunClients(
            jobs=for_jobs, executions=for_executions, tasks=for_tasks, pools=for_pools, close=channel.close
        )

    return join


def credentials_for(config: CloudRunExecutionConfig, *, scopes: tuple[str, ...]) -> Any:
    """Find the credentials of this machine, for another account or quota project if the configuration says so."""
    import google.auth  # noqa: PLC0415 -- only a dispatcher needs it
    import google.auth.exceptions  # noqa: PLC0415 -- as above
    from google.auth import impersonated_credentials  # noqa: PLC0415 -- as above

    find: Callable[..., tuple[Any, Any]] = google.auth.default  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- without types
    try:
        found, _ = find(scopes=scopes, quota_project_id=None if config.impersonate else config.quota_project)
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"There are no Google credentials here: {error} "
            "Run `gcloud auth application-default login`, or run on a machine with a service account."
        ) from error
    if config.impersonate is None:
        return found
    borrowed: Any = impersonated_credentials.Credentials
    return borrowed(
        source_credentials=found,
        target_principal=config.impersonate,
        target_scopes=list(scopes),
        quota_project_id=config.quota_project,
    )
