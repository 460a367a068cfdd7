"""The state of a schedule as the JSON that databases keep."""

from collections.abc import Iterable, Iterator

from msgspec import DecodeError, json

from lq_core.event_log import event_log
from lq_core.schedule_state import ScheduleState

log = event_log()

_encode = json.Encoder().encode
_decode = json.Decoder(ScheduleState).decode


def to_text(state: ScheduleState) -> str:
    """Write a state."""
    return _encode(state).decode()


def from_texts(texts: Iterable[str]) -> Iterator[ScheduleState]:
    """Read states; one that is damaged is passed over, and logged."""
    for text in texts:
        try:
            yield _decode(text)
        except DecodeError as error:
            log.error("schedule.unreadable", extra={"text": text[:1000], "error": str(error)})  # noqa: TRY400 -- the error says it all
