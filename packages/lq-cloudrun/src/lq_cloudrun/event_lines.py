"""Shows lq's events as lines that a person can read in the logs of an execution."""

import logging


def show_events() -> None:
    """Show the events of lq on standard error, unless the program has said otherwise."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root.addHandler(handler)
    logging.getLogger("lq").setLevel(logging.INFO)
