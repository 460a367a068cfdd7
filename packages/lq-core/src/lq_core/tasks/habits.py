"""Names that other queues use, and what lq has in their place."""

from typing import Final

from lq_core.foundation.errors import closest

_ADVICE: Final = "Enqueue it with a QueueService: await queue.enqueue({name}, ...)"
_LATER: Final = "await queue.enqueue({name}.using(delay=60), ...)"
_CALL: Final = "Bind a call for enqueue_many() with {name}.call(...)"
_HABITS: Final = {
    **dict.fromkeys(("delay", "send", "enqueue", "kiq", "defer", "defer_async", "submit", "queue"), f"{_ADVICE}."),
    **dict.fromkeys(
        ("apply_async", "send_with_options", "schedule", "delay_on_commit"), f"{_ADVICE}; with options: {_LATER}."
    ),
    **dict.fromkeys(("options", "configure", "with_options", "set", "kicker"), "Write {name}.using(...)."),
    **dict.fromkeys(("s", "si", "signature", "message"), f"{_CALL}."),
}


def missing(task: object, name: str) -> object:
    """Raise AttributeError for a name that a task does not have, and say what to write."""
    own = vars(task).get("__name__", "task")
    advice = _HABITS[name].format(name=own) if name in _HABITS else closest(name, ("call", "using", "name", "options"))
    raise AttributeError(f"A task has no {name!r}. {advice}".rstrip(), name=name, obj=task)


def not_awaited(task: object) -> object:
    """Raise TypeError for ``await task`` or ``await task.using(...)``, and say what to write."""
    own = vars(task).get("__name__", "task")
    raise TypeError(
        f"A task cannot be awaited: `await queue.enqueue({own}, ...)` enqueues a call, also of {own}.using(...), and "
        f"`await {own}(...)` runs the function here and now."
    )
