"""Adds lq to a Litestar application: plugin, injection, in-app worker and commands."""

from lq_litestar.after_commit import enqueue_after_commit
from lq_litestar.after_response import enqueue_after_response
from lq_litestar.dashboard import WebSettings
from lq_litestar.plugin import QueuePlugin
from lq_litestar.record_events import record_events

__all__ = ["QueuePlugin", "WebSettings", "enqueue_after_commit", "enqueue_after_response", "record_events"]
