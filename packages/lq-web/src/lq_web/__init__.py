"""The dashboard and the HTTP API of a queue, as a Litestar router and as an ASGI application."""

from lq_web.app import create_app, create_router
from lq_web.config import Role, WebConfig

__all__ = ["Role", "WebConfig", "create_app", "create_router"]
