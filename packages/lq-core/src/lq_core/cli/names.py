"""Lists of names, as they are typed: repeated, or with commas, or both."""

from collections.abc import Iterable


def split_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Split every text at its commas, in order, each name once."""
    names = (name.strip() for text in texts for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
