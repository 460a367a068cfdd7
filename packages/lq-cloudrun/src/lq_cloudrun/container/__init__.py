"""The program in a container: find the queue, claim, run, stop in time."""
