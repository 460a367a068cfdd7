"""A call of a task that can be enqueued."""

from typing import Generic, TypeVar
from uuid import UUID

from lq_core.foundation.validation import NAME_LIMIT
from lq_core.records.identity import new_id
from lq_core.tasks.codec import CallCodec
from lq_core.tasks.options import OnConflict, TaskOptions, without_key

Result_co = TypeVar("Result_co", covariant=True)


class TaskCall(Generic[Result_co]):
    """A bound and encoded call that can be enqueued, made by ``task.call(...)``."""

    __slots__ = ("_id", "arguments", "codec", "options", "task_name")

    def __init__(self, task_name: str, arguments: str, options: TaskOptions, codec: CallCodec[Result_co]) -> None:
        self.task_name = task_name
        self.arguments = arguments
        self.options = options
        self.codec = codec
        self._id: UUID | None = None

    @property
    def id(self) -> UUID:
        """
        The id that its record will have, for a call that comes *after* this one and is enqueued together with it.

        A call whose id you read can be enqueued once. If another record holds the key of this call, no record has this
        id: what is enqueued together with it comes after the holder.
        """
        if self._id is None:
            self._id = new_id()
        return self._id

    @property
    def key(self) -> str | None:
        """
        The unique key of the call: *key*, or one made from *key_from*; None without both.

        Raises ConfigurationError if there is no key, but another option needs one.
        """
        options = self.options
        if options.key is not None:
            return options.key
        if options.key_from is None:
            if options.key_scope is options.key_window is None and options.on_conflict is OnConflict.RETURN_EXISTING:
                return None
            raise without_key(options)
        return _short(f"{self.task_name}:{self.codec.encode_some(self.arguments, options.key_from)}")

    @property
    def fairness_key(self) -> str | None:
        """The fairness key of the call: *fairness_key*, or one made from *fairness_key_from*; None without both."""
        options = self.options
        if options.fairness_key_from is None:
            return options.fairness_key
        return _short(self.codec.encode_some(self.arguments, options.fairness_key_from))

    @property
    def has_id(self) -> bool:
        """Whether :attr:`id` was read."""
        return self._id is not None

    def __repr__(self) -> str:
        return f"<TaskCall {self.task_name} {self.arguments}>"


def _short(key: str) -> str:
    if len(key) <= NAME_LIMIT:
        return key
    from hashlib import sha256  # noqa: PLC0415 -- it loads OpenSSL, and few keys are long

    return sha256(key.encode()).hexdigest()
