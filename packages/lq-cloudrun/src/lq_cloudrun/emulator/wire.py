"""Converts between messages and bytes: the only module that uses the parts of proto-plus that have no types."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar, cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

Request = TypeVar("Request")


def reader(kind: type[Request]) -> Callable[[bytes], Request]:
    """Return the function that makes a message of *kind* from bytes, for proto-plus and for plain protobuf."""
    if issubclass(kind, Message):
        return kind.FromString
    return cast("Callable[[bytes], Request]", getattr(kind, "deserialize"))  # noqa: B009 -- a method of the metaclass


def written(message: object) -> bytes:
    """Return a message as bytes."""
    return _plain(message).SerializeToString()


def packed(message: object) -> AnyMessage:
    """Put a message into the envelope of an operation."""
    envelope = AnyMessage()
    envelope.Pack(_plain(message))
    return envelope


def copied(message: Request) -> Request:
    """Return a copy of a message."""
    return reader(type(message))(written(message))


def merged(current: Request, changes: Request, mask: FieldMask, *, keep: Iterable[str]) -> Request:
    """
    Return *current* with the fields of *changes* that *mask* names, or with all if it is empty, except *keep*.

    Raises ValueError if the mask names a field that does not exist.
    """
    after = copied(current)
    plain, source, before = _plain(after), _plain(changes), _plain(current)
    if not mask.IsValidForDescriptor(cast("Descriptor", source.DESCRIPTOR)):
        msg = f"The update mask names a field that does not exist: {', '.join(mask.paths)}."
        raise ValueError(msg)
    if mask.paths:
        mask.MergeMessage(source, plain, replace_message_field=True, replace_repeated_field=True)
    else:
        plain.CopyFrom(source)
    for name in keep:
        plain.ClearField(name)
    kept = FieldMask(paths=keep)
    kept.MergeMessage(before, plain)
    return after


def seconds(duration: Duration) -> float:
    """Return a duration in seconds. Its declared type is Duration, but proto-plus returns a timedelta."""
    return cast("timedelta", cast("object", duration)).total_seconds()


def _plain(message: object) -> Message:
    if isinstance(message, Message):
        return message
    plain = cast("Callable[[object], Message]", getattr(type(message), "pb"))  # noqa: B009 -- a method of the metaclass
    return plain(message)
