"""Signals: a task waits for one without a slot, and anybody who knows the record sends it."""

from typing import Any

import msgspec

from lq_core.foundation.validation import Name, Seconds, check_value
from lq_core.records import steps
from lq_core.records.history import SIGNAL
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.codec import to_json
from lq_core.tasks.more_types import read


class SignalAwaited(BaseException):
    """Ends an attempt until a signal comes. It is not an Exception, so that no ``except Exception`` takes it."""

    def __init__(self, name: str, timeout: float | None) -> None:
        super().__init__(name, timeout)
        self.name = name
        self.timeout = timeout


def check_signal(name: str, timeout: float | None) -> None:
    """Raise ConfigurationError for a bad name or timeout."""
    check_value("The name of a signal", name, Name)
    check_value(f"The timeout of the signal {name!r}", timeout, Seconds | None)


def value_of(text: str) -> object:
    """Read the value of a signal as a person types it. Raises ValueError with advice if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ValueError(f'{text!r} is not JSON: {error}. Text needs quotes: "yes".') from None


def encode_signal(name: str, value: object) -> str:
    """Encode the value of a signal. Raises TypeError if it has no JSON form."""
    try:
        return to_json(value).decode()
    except Exception as error:  # noqa: BLE001 -- the encoders of the user's own types may raise anything
        raise TypeError(f"The value of the signal {name!r} cannot be encoded as JSON: {error}") from None


def received(record: QueuedTaskRecord, name: str, kind: Any) -> tuple[object, ...]:
    """Return the value of a signal, as a tuple of one, or nothing. Raises TypeError if it is of another type."""
    value = steps.kept(record, SIGNAL).get(name)
    if value is None:
        return ()
    try:
        return (msgspec.json.decode(value, type=kind, dec_hook=read),)
    except msgspec.DecodeError as error:
        raise TypeError(f"The value of the signal {name!r} does not fit the type of the wait: {error}") from None
