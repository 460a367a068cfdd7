"""From a claimed record to its outcome: inject, decode, run within the timeout, encode."""
