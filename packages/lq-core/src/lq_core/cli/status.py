"""``lq worker --http``: the probes of a worker, and its metrics if the extra ``prometheus`` is installed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from lq_core.cli.output import Failure
from lq_core.observability.probes import Exposition, probes
from lq_core.observability.status_server import StatusServer
from lq_core.service import QueueService
from lq_core.tasks.middleware import Middleware
from lq_core.worker import Worker


class StatusOption:
    """The value of the option, ``HOST:PORT``, or None to serve nothing. Raises Failure for anything else."""

    def __init__(self, http: str | None) -> None:
        host, _, port = (http or "127.0.0.1:0").rpartition(":")
        if not (host and port.isdecimal() and int(port) <= 65_535):  # noqa: PLR2004 -- the largest port
            raise Failure(f"--http is {http!r}; give an address and a port, such as 127.0.0.1:9101.")
        self._address = None if http is None else (host.strip("[]"), int(port))
        self._metrics: Exposition | None = None
        self.middleware: tuple[Middleware, ...] = ()
        """What measures the attempts, if metrics are served."""

        if self._address is not None and find_spec("prometheus_client"):
            from lq_core.observability.prometheus import PrometheusMetrics  # noqa: PLC0415 -- an extra installs it

            self._metrics = metrics = PrometheusMetrics()
            self.middleware = (metrics,)

    @asynccontextmanager
    async def serving(self, service: QueueService, worker: Worker) -> AsyncGenerator[None]:
        """Serve while the worker runs. Raises Failure if the address cannot be used."""
        if self._address is None:
            yield
            return
        try:
            server = await StatusServer(*self._address, probes(service, worker, self._metrics)).__aenter__()
        except OSError as error:
            raise Failure(f"--http cannot listen: {error}") from error
        try:
            yield
        finally:
            await server.__aexit__(None, None, None)
