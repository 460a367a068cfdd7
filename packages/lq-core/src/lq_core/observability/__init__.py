"""Metrics and health of a process, for monitoring systems."""
