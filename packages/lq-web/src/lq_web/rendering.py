"""How values look on a page: templates that escape everything, ages and moments in words."""

from datetime import datetime
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from lq_web.history import Point

SHOWN: Final = 10_000
"""How many characters of a value a page shows."""

UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def duration(seconds: float | None) -> str:
    """Say a duration in its two largest units, such as ``3 min 20 s``."""
    if seconds is None:
        return "none"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    words: list[str] = []
    for size, unit in UNITS:
        number, seconds = divmod(seconds, size)
        if number:
            words.append(f"{number:.0f} {unit}")
        if len(words) == 2 or (words and not number):  # noqa: PLR2004 -- two units are precise enough
            break
    return " ".join(words)


def ago(moment: datetime | None, now: datetime) -> str:
    """Say how long ago a moment was, or how far ahead it is."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def moment(value: datetime | None) -> str:
    """Write a moment in UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if value else ""


def pretty(value: object) -> str:
    """Write plain data as indented JSON, cut when it is long, with control characters escaped."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}\n[... {len(text) - SHOWN:,} more characters; the API returns all of it ...]"
    return text


def ends(point: Point) -> int:
    """Count the records that completed, failed or ended in another way in a step of a chart."""
    return point.completed + point.failed + point.cancelled + point.expired


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("lq_web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"duration": duration, "ago": ago, "ends": ends, "moment": moment, "pretty": pretty}
    made.filters.update(filters)
    return made


ENVIRONMENT: Final = _environment()


def render(template: str, **values: Any) -> str:
    """Render a page."""
    return ENVIRONMENT.get_template(template).render(**values)
