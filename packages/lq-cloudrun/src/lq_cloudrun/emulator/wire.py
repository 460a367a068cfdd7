"""
Between messages and bytes: the one place that touches what proto-plus leaves without types.

What comes in here unknown goes out with a type, and no further.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

from google.cloud.run_v2 import types as run
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

Request = TypeVar("Request")


def reader(kind: type[Request]) -> Callable[[bytes], Request]:
    """What turns bytes into a message of *kind*, one of Google's or a plain one of protobuf."""
    if issubclass(kind, Message):
        return kind.FromString
    return cast("Callable[[bytes], Request]", getattr(kind, "deserialize"))  # noqa: B009 -- a method of the metaclass


def written(message: object) -> bytes:
    """*message* as bytes."""
    return _plain(message).SerializeToString()


def packed(execution: run.Execution) -> AnyMessage:
    """*execution* in the envelope that an operation carries."""
    envelope = AnyMessage()
    envelope.Pack(_plain(execution))
    return envelope


def seconds(duration: Duration) -> float:
    """The length of *duration*: its declared type is Duration, what proto-plus really gives is a timedelta."""
    return cast("timedelta", cast("object", duration)).total_seconds()


def _plain(message: object) -> Message:
    if isinstance(message, Message):
        return message
    plain = cast("Callable[[object], Message]", getattr(type(message), "pb"))  # noqa: B009 -- a method of the metaclass
    return plain(message)
