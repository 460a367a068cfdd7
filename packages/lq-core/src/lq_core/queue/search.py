"""
The conditions on the text of a record: words in its arguments, metadata and errors, and values by name.

Every queue backend looks for fragments of the JSON that lq writes, and parses none of it, so that all of them find the
same records, and a damaged text harms no search.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from lq_core.foundation.errors import ConfigurationError
from lq_core.queue.columns import to_text, to_text_or_nothing
from lq_core.records.record import QueuedTaskRecord

PLACES: Final = ("arguments", "metadata")
"""Where a value can be looked for by name."""

MOST_VALUES: Final = 10

READ: Final[Mapping[str, Callable[[QueuedTaskRecord], str | None]]] = {
    "task_name": lambda record: record.task_name,
    "arguments": lambda record: record.arguments,
    "metadata": lambda record: to_text_or_nothing(record.metadata),
    "error": lambda record: to_text(record.error),
    "worker_id": lambda record: record.worker_id,
    "history": lambda record: to_text_or_nothing(record.history),
}
"""The columns that are searched, as a database stores them."""


class Words(Struct, gc=False, frozen=True):
    """A condition: at least one of these fragments occurs in at least one of these columns. Case matters."""

    columns: tuple[str, ...]
    fragments: tuple[str, ...]

    def occur_in(self, record: QueuedTaskRecord) -> bool:
        """Whether a record meets the condition."""
        texts = [text for column in self.columns if (text := READ[column](record))]
        return any(fragment in text for fragment in self.fragments for text in texts)


def words_of(
    *,
    text: str | None,
    values: Mapping[str, str],
    error_type: str | None,
    error_text: str | None,
    worker_id: str | None,
) -> list[Words]:
    """
    Write the fields of a RecordFilter that are about text as conditions, all of which must be met.

    Raises ConfigurationError for a name in *values* that is neither ``arguments.NAME`` nor ``metadata.NAME``.
    """
    if len(values) > MOST_VALUES:
        raise ConfigurationError(f"values has {len(values)} names; at most {MOST_VALUES} can be searched for at once.")
    if any("\0" in one for one in (text, error_type, error_text, worker_id, *values, *values.values()) if one):
        raise ConfigurationError(
            "The text to search for contains NUL, which records contain only as an escape; leave it out."
        )
    found = [_value(path, value) for path, value in values.items()]
    if text is not None:
        found.append(Words(("task_name", *PLACES, "error"), tuple({text, _inside(text)})))
    if error_type is not None:
        found.append(Words(("error",), _members("type", [_quoted(error_type)])))
    if error_text is not None:
        found.append(Words(("error",), (_inside(error_text),)))
    if worker_id is not None:
        found.append(Words(("worker_id", "history"), (worker_id,)))
    return found


def values_of(texts: Iterable[str]) -> Mapping[str, str]:
    """Read values written as ``NAME=VALUE``. Raises ConfigurationError for anything else, and for a name twice."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"The value is {text!r}; write NAME=VALUE, as in metadata.tenant=acme.")
        if values.setdefault(name.strip(), value) != value:
            raise ConfigurationError(f"{name} has two values; a record has only one.")
    return values


def _value(path: str, value: str) -> Words:
    place, _, name = path.partition(".")
    if place not in PLACES or not name:
        raise ConfigurationError(f"values has the name {path!r}; use arguments.NAME or metadata.NAME.")
    return Words((place,), _members(name, [_quoted(value), *_literal(value)]))


def _members(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Write members of a JSON object, as lq writes them, and with a space, as other programs do."""
    key = _quoted(name)
    return tuple(f"{key}:{space}{value}{end}" for value in values for space in ("", " ") for end in ",}")


def _literal(value: str) -> list[str]:
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return []
    return [] if isinstance(decoded, (str, list, dict)) else [value]


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _inside(text: str) -> str:
    return _quoted(text)[1:-1]
