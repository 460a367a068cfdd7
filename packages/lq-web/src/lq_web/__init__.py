"""The dashboard and the HTTP API of a queue, in a Litestar application and as an ASGI application."""

from lq_web.app import Dashboard, create_app, create_dashboard
from lq_web.config import Role, WebConfig

__all__ = ["Dashboard", "Role", "WebConfig", "create_app", "create_dashboard"]
