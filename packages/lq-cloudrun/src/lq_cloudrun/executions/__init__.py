"""Executions as values: their request, status and exit code, and the list of all executions of a job."""
