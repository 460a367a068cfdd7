"""What stands in the signature of a public name can be imported from a documented place."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, cast, get_args, get_type_hints

import pytest

from tree import ROOT, packages

DOCUMENTED = re.findall(r"automodule:: (\S+)", (ROOT / "docs/reference.md").read_text())
HIDDEN = {
    "lq_core.attempts.attempt.Attempt",
    "lq_core.foundation.duration.StoredAs",
    "lq_core.presence.presence.Presence",
    "lq_core.tasks.owner.Owner",
}
"""Types that public classes offer to the packages of lq alone, and the fields of configurations that store seconds."""

DOORS = [package.module for package in packages()]


def names_of(module: str) -> dict[str, object]:
    """The public names of a module."""
    found = import_module(module)
    own = [name for name, value in vars(found).items() if getattr(value, "__module__", None) == module]
    listed: list[str] = getattr(found, "__all__", [name for name in own if not name.startswith("_")])
    return {name: getattr(found, name) for name in listed}


def types_in(annotation: object) -> Iterator[type[object]]:
    """The classes in an annotation, those in brackets included."""
    if isinstance(annotation, type):
        yield annotation
    parts: list[Any] = [*get_args(annotation), getattr(annotation, "__origin__", None)]
    for part in parts:
        several = cast("list[Any]", part) if isinstance(part, list) else [part]
        for each in several:
            if each is not None and each is not annotation:
                yield from types_in(each)


def signatures_of(public: Any) -> Iterator[Any]:
    """The functions behind a public name: itself, or its public methods and properties."""
    if inspect.isfunction(public):
        yield public
    if not isinstance(public, type):
        return
    yield public.__init__
    members: dict[str, Any] = dict(vars(public))
    for name, member in members.items():
        if name.startswith("_"):
            continue
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        function = member.func if isinstance(member, cached_property) else function
        if inspect.isfunction(function):
            yield function


def annotations_of(public: Any) -> Iterator[tuple[str, Any]]:
    is_value = is_dataclass(public) or hasattr(public, "__struct_fields__")
    looked_at: list[Any] = [*([public] if is_value else []), *signatures_of(public)]
    for annotated in looked_at:
        if "__annotations__" in dir(annotated):
            hints = get_type_hints(annotated, include_extras=True)
            yield from ((name, hint) for name, hint in hints.items() if not name.startswith("_"))


@pytest.mark.parametrize("door", DOORS)
def test_what_stands_in_a_signature_can_be_imported_from_a_documented_place(door: str) -> None:
    known = [id(value) for module in {*DOCUMENTED, *DOORS} for value in names_of(module).values()]
    missing = {
        f"{kind.__module__}.{kind.__qualname__}, which {name} names as {field!r}"
        for name, public in names_of(door).items()
        for field, annotation in annotations_of(public)
        for kind in types_in(annotation)
        if kind.__module__.startswith("lq_")
        and f"{kind.__module__}.{kind.__qualname__}" not in HIDDEN
        and id(kind) not in known
    }

    assert sorted(missing) == []


@pytest.mark.parametrize("door", DOORS)
def test_public_names_are_listed_in_order(door: str) -> None:
    listed = import_module(door).__all__

    assert listed == sorted(listed, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
