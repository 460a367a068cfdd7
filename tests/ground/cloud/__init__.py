"""A small cloud for tests: the emulator, a database that containers share, and Google's own client between them."""

from cloud.sky import Cloud, cloud, events_of
from warehouse import sqlite_address

__all__ = ["Cloud", "cloud", "events_of", "sqlite_address"]
