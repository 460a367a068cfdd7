"""Values of types without a JSON form of their own arrive as they are given, alone and inside others."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest
from msgspec import Struct

from lq_core import (
    CallCodec,
    ConfigurationError,
    InvalidArgumentError,
    QueueConfig,
    TaskDefinitionError,
    TaskStatus,
    task,
)
from lq_core.testing import QueueTestbed


class Item(pydantic.BaseModel):
    name: str
    bought: datetime
    where: Path | None = None


class Order(pydantic.BaseModel):
    items: list[Item]
    number: int = pydantic.Field(alias="orderNumber")


class Box(Struct):
    path: Path
    hosts: deque[IPv4Address]


@dataclass
class Shelf:
    boxes: list[Box]


@attrs.frozen
class Parcel:
    path: Path
    weights: list[float] = attrs.field(factory=list[float])
    note: Any = None
    _code: int = attrs.field(default=0, alias="code")


@attrs.define(eq=False)
class Label:
    text: Any


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


class Unknown:
    """A type that nobody has added."""


class Broken:
    """A type whose encoder fails."""


QueueConfig(queue_backend="memory", type_encoders={Broken: lambda broken: broken.nothing})
NOW = datetime(2026, 1, 2, tzinfo=UTC)
BOX = Box(Path("a/b"), deque([IPv4Address("10.0.0.1")]))


def codec_of(annotation: object) -> CallCodec[object]:
    def function(value: object) -> object:
        return value

    function.__annotations__ = {"value": annotation, "return": annotation}
    return CallCodec(function, task_name="more", supplied=frozenset())


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Path, Path("a/b")),
        (PurePosixPath, PurePosixPath("/a")),
        (Path | None, None),
        (list[Path], [Path("a"), Path("b")]),
        (dict[str, IPv4Address], {"a": IPv4Address("10.0.0.1")}),
        (IPv4Interface, IPv4Interface("10.0.0.1/8")),
        (IPv6Address, IPv6Address("::1")),
        (IPv6Network, IPv6Network("fe80::/10")),
        (deque[int], deque([1, 2])),
        (deque[datetime], deque([NOW])),
        (deque[Box], deque([BOX])),
        (Fraction, Fraction(1, 3)),
        (ZoneInfo, ZoneInfo("Europe/Berlin")),
        (Box, BOX),
        (Shelf, Shelf([BOX])),
        (Item, Item(name="x", bought=NOW, where=Path("y"))),
        (Item | None, Item(name="x", bought=NOW)),
        (Order, Order(items=[Item(name="x", bought=NOW)], orderNumber=3)),
        (list[Item], [Item(name="x", bought=NOW)]),
        (Parcel, Parcel(Path("a"), [1.5])),
        (Parcel | None, Parcel(Path("a"), note={"a": [1]})),
        (dict[str, Parcel], {"a": Parcel(Path("b"))}),
    ],
    ids=repr,
)
def test_a_value_arrives_as_it_is_given(annotation: object, value: object) -> None:
    codec = codec_of(annotation)

    _, arrived = codec.decode(codec.encode((value,), {}))
    assert (arrived["value"], type(arrived["value"])) == (value, type(value))
    assert codec.decode_result(codec.encode_result(value)) == value


@pytest.mark.parametrize(
    "annotation, value, problem",
    [
        (Path, 5, "value"),
        (IPv4Address, "nowhere", "Expected 4 octets in 'nowhere'"),
        (Item, {"name": "x"}, "bought"),
        (deque[int], deque(["a"]), "Expected `int`, got `str`"),
        (deque[int], deque([1], maxlen=3), "a deque with maxlen=3 would arrive without it; pass a list"),
        (object, Unknown(), "the argument 'value' .*no encoder for Unknown; .*type_encoders"),
        (str, Path("a"), "Path"),
        (Parcel, Parcel(Path("a"), note=NOW), "would arrive as Parcel.*note='2026"),
        (Label, Label(NOW), "Label"),
        (object, Broken(), "the encoder of Broken raised AttributeError"),
    ],
    ids=repr,
)
def test_a_value_that_does_not_fit_is_refused_at_enqueue(annotation: object, value: object, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        codec_of(annotation).encode((value,), {})


def test_an_unknown_type_is_refused_at_definition_with_the_way_to_add_it() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'value' of task 'more'.*QueueConfig\(type_encoders=\.\.\., type_"):
        codec_of(Unknown)


@pytest.mark.parametrize(
    "annotation",
    [Path | str, list[Path | int], Path | IPv4Address, Item | Order, Item | dict[str, str], deque[int] | list[int]],
    ids=repr,
)
def test_a_union_whose_members_look_the_same_is_refused_at_definition(annotation: object) -> None:
    with pytest.raises(TaskDefinitionError, match=r"'value' of task 'more' .*whose values cannot arrive whole"):
        codec_of(annotation)


def test_a_configuration_adds_types() -> None:
    def is_money(kind: Any) -> bool:
        return kind is Money

    def money(_: Any, data: Any) -> Money:
        return Money(int(data))

    QueueConfig(queue_backend="memory", type_encoders={Money: lambda m: m.cents}, type_decoders=[(is_money, money)])
    codec = codec_of(dict[str, Money | None])

    assert codec.decode(codec.encode(({"a": Money(5), "b": None},), {}))[1] == {"value": {"a": Money(5), "b": None}}
    with pytest.raises(ConfigurationError, match="type_encoders is 5; it must be a dict from types"):
        QueueConfig(type_encoders=5)  # pyright: ignore[reportArgumentType] -- the mistake is the example
    with pytest.raises(ConfigurationError, match=r"type_decoders is .*; it must be a list of pairs"):
        QueueConfig(type_decoders=[money])  # pyright: ignore[reportArgumentType] -- the mistake is the example


@task(name="more.count", key_from=("path",))
async def count(path: Path, order: Order) -> deque[Path]:
    return deque([path, *(item.where for item in order.items if item.where)])


async def test_a_task_gets_and_returns_them() -> None:
    order = Order(items=[Item(name="x", bought=NOW, where=Path("y"))], orderNumber=3)

    async with QueueTestbed() as bed:
        sent = await bed.service.enqueue(count, Path("a"), order)
        assert await bed.drain() == {TaskStatus.COMPLETED: 1}
        assert await sent.wait() == deque([Path("a"), Path("y")])
