"""An emulated project for tests: the emulator, the queue of its containers, and a service that dispatches to it."""

from cloud.emulated import Cloud, cloud, events_of
from container_tasks import sqlite_address

__all__ = ["Cloud", "cloud", "events_of", "sqlite_address"]
