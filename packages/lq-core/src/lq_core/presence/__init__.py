"""Owners of running records: a worker id, its heartbeat, and the records that it holds."""
