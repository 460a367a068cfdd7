"""``lq web``: the dashboard of one queue, served on this machine alone."""

from ipaddress import ip_address

from lq_core import ConfigurationError, QueueConfig
from lq_web.app import create_app
from lq_web.config import WebConfig


def serve(config: QueueConfig, *, host: str, port: int) -> None:
    """
    Serve the dashboard until the process is interrupted; needs the extra ``serve``.

    Raises ConfigurationError if *host* is not an address of this machine alone, or if uvicorn is not installed.
    """
    if host != "localhost" and not _is_local(host):
        raise ConfigurationError(
            f"host is {host!r}, which others can reach, and everyone who does could change the queue. Mount the "
            "dashboard in an application with guards: WebConfig(guards=[...])."
        )
    try:
        import uvicorn  # noqa: PLC0415 -- only the extra `serve` installs it
    except ImportError as error:
        raise ConfigurationError(f"lq web needs uvicorn ({error}): pip install 'lq-web[serve]'") from error
    app = create_app(config, WebConfig(path="/", open_to_everyone=True))
    print(f"The dashboard is at http://{host}:{port}/ until Ctrl-C.", flush=True)  # noqa: T201 -- a person reads it
    uvicorn.run(app, host=host, port=port, log_level="warning")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
