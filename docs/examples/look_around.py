"""Serves the dashboard of a SQLite file on this machine, until Ctrl-C."""

import socket
from pathlib import Path

from rich.console import Console

from lq_core import QueueConfig
from lq_core.queue.sqlite import SQLiteConfig
from lq_web.serving import serve

PLACES = {
    "History": "how many records ended in each minute, how long they waited, and how long they ran",
    "Records": "every file; filter by the text of its name, or by a worker",
    "Changes": "what you pause, retry or cancel here, and who did",
}


def look_around(path: Path, console: Console) -> None:
    """Say what there is to see, and serve it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    console.print("Look at what has just happened:")
    for name, what in PLACES.items():
        console.print(f"  {name}: {what}")
    serve(QueueConfig(queue_backend=SQLiteConfig(path=path)), host="127.0.0.1", port=port)
