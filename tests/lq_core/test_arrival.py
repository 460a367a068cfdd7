"""Nothing is narrowed, dropped or rounded on the way: what would not arrive whole is refused where it is given."""

import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from types import new_class
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Protocol, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from lq_core import InvalidArgumentError, TaskDefinitionError, task
from lq_core.tasks.arrival import check_annotation, is_sure
from lq_core.tasks.codec import CallCodec

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 5, 1, 12, tzinfo=BERLIN)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Shape(enum.Enum):
    SQUARE = (1, 1)


class Point(msgspec.Struct):
    x: int
    extra: Any = None


class DeepPoint(Point):
    z: int = 0


class FrozenPoint(msgspec.Struct, frozen=True):
    x: int


class Unequal(msgspec.Struct, eq=False):
    x: int


class Optional(msgspec.Struct, omit_defaults=True):
    x: int = 0


@dataclass
class Box:
    label: str
    cache: dict[str, int] = field(default_factory=dict[str, int], init=False, compare=False)


@dataclass
class BigBox(Box):
    size: int = 1


class Row(TypedDict):
    x: int
    y: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


class Custom:
    """Not a type of JSON."""


class Text(str):
    """A text with something more."""

    __slots__ = ("more",)


class Shouting(Protocol):
    """Only for type checkers."""


def codec_of(annotation: object) -> CallCodec[object]:
    def function(value: object) -> object:
        raise NotImplementedError

    function.__annotations__ = {"value": annotation, "return": annotation}
    return CallCodec(function, task_name="t", supplied=frozenset())


WHOLE: list[tuple[object, object]] = [
    (int, 2**100),
    (float, 5),
    (int | float, 5.0),
    (Decimal, Decimal("NaN")),
    (Decimal, "1.50"),
    (datetime, NOON),
    (datetime, datetime(2026, 5, 1)),  # noqa: DTZ001 -- a naive moment arrives naive
    (datetime, "2026-05-01T12:00:00Z"),
    (time, time(1, 2, tzinfo=UTC)),
    (timedelta, timedelta.max),
    (UUID, "12345678123456781234567812345678"),
    (bytes, bytearray(b"a")),
    (Colour, Colour.RED),
    (Colour, "red"),
    (Level, 3),
    (Any, {"a": [1, "x", None, {"b": 1.5}]}),
    (Any, (1, [2, (3,)])),
    (Sequence[int], (1, 2)),
    (tuple[int, ...], [1, 2]),
    (set[int], [1, 2]),
    (frozenset[int], {1, 2}),
    (dict[int, Decimal], {1: Decimal(2)}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[UUID, int], {str(UUID(int=1)): 1}),
    (Mapping[str, datetime], {"a": NOON}),
    (Row, {"x": 1}),
    (Pair, Pair(1, "a")),
    (Point, Point(1, {"a": 1})),
    (Point, {"x": 1}),
    (list[Point], [{"x": 1}, Point(2)]),
    (Unequal, Unequal(1)),
    (Optional, {"x": 0}),
    (Box, Box("a")),
    (Box, {"label": "a"}),
    (object, "text"),
    (Iterable[int], [1]),
    (Hashable, "a"),
    (set[FrozenPoint], {FrozenPoint(1)}),
    (Any, msgspec.Raw(b"[1]")),
]


@pytest.mark.parametrize("annotation, value", WHOLE, ids=repr)
def test_what_arrives_whole_is_accepted(annotation: object, value: object) -> None:
    codec = codec_of(annotation)

    codec.encode((value,), {})
    codec.encode_result(value)


NARROWED: list[tuple[object, object]] = [
    (str, Colour.RED),
    (int, Level.HIGH),
    (Any, Colour.RED),
    (list[str], ["a", Colour.RED]),
    (set[str], {Colour.RED}),
    (dict[str, int], {Colour.RED: 1}),
    (Any, NOON),
    (Any, {"at": [NOON]}),
    (Any, {1: "a", "1": "b"}),
    (dict[str, int], {1: 2}),
    (Any, {1, 2}),
    (list[int], {1, 2}),
    (set[int], [1, 1]),
    (Any, Point(1)),
    (object, Box("a")),
    (Point, DeepPoint(1)),
    (Point, Point(1, extra=NOON)),
    (list[Point], [Point(1), DeepPoint(1)]),
    (Box, BigBox("a")),
    (Box, {"label": "a", "size": 1}),
    (list[Row], [{"x": 1, "z": 2}]),
    (Any, Pair(1, "a")),
    (tuple[int, str], Pair(1, "a")),
    (dict[str, int], OrderedDict(a=1)),
    (Mapping[str, int], Counter("a")),
    (dict[str, list[int]], defaultdict(list, a=[1])),
    (str, UUID(int=1)),
    (str, b"abc"),
    (bytes, "YWJj"),
    (str, Decimal(1)),
    (Decimal, 1.1),
    (float, 2**53 + 1),
    (time, time(1, 2, tzinfo=BERLIN)),
    (datetime, datetime(2026, 5, 1, tzinfo=timezone(timedelta(seconds=3661)))),
]
UNREADABLE: list[tuple[object, object]] = [
    (int, "three"),
    (int, True),
    (int, 5.0),
    (float, nan),
    (Any, [inf]),
    (date, NOON),
    (set[Any], {(1, 2)}),
    (Any, Text("a")),
    (Any, deque([1])),
    (Any, Custom()),
    (Any, "\ud800"),
    (str, None),
]


@pytest.mark.parametrize("annotation, value", NARROWED + UNREADABLE, ids=repr)
def test_what_would_not_arrive_whole_is_refused_with_the_parameter_and_the_value(
    annotation: object, value: object
) -> None:
    codec = codec_of(annotation)

    with pytest.raises(InvalidArgumentError, match="value") as refused:
        codec.encode((value,), {})
    with pytest.raises((TypeError, ValueError)):
        codec.encode_result(value)

    assert "'value'" in refused.value.problem


PLAIN: list[object] = [None, True, 0, 2**100, -1, 1.0, -0.0, "", "1", UUID(int=1), b"a", NOON, Level.HIGH, Text("a")]
ANNOTATIONS: list[Any] = [
    *(Any, object, None, bool, int, float, str, UUID, Level, Annotated[int, msgspec.Meta(ge=1)], Literal[1, "1"]),
    *(int | None, float | None, int | float, int | str | None, bool | str, Annotated[str, msgspec.Meta(min_length=1)]),
]


def test_values_are_only_passed_without_a_look_where_they_arrive_whole() -> None:
    kinds = [
        *(*ANNOTATIONS, list, dict, Annotated[list[int], msgspec.Meta(min_length=1)], dict[Any, Any], list[list[int]]),
        *(*(list[each] for each in ANNOTATIONS), *(dict[str, each] for each in ANNOTATIONS), dict[int, int]),
    ]
    values = [*PLAIN, [], {}, {1: 1}, *([one] for one in PLAIN), *({"a": one} for one in PLAIN), [[1]], [1, "a"]]
    sure = [(kind, value) for kind in kinds for value in values if is_sure(value, check_annotation(kind))]

    arrived = [msgspec.json.decode(msgspec.json.encode(value), type=kind) for kind, value in sure]

    assert [repr(value) for value in arrived] == [repr(value) for _, value in sure]
    assert len(sure) > 200
    assert not [kind for kind, value in sure if isinstance(value, Level | Text | bytes | datetime)]


def test_the_error_says_how_the_value_would_arrive_and_what_to_do() -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=r"the argument 'value': DeepPoint\(x=1.*z=0\) would arrive as Point\(x=1.*\(DeepPoint as Point\)\. Annot",
    ):
        codec_of(Point).encode((DeepPoint(1),), {})


@pytest.mark.parametrize(
    "annotation, problem",
    [
        (Custom, "`Custom` is not a type that JSON can hold"),
        (Custom | None, "`Custom`"),
        (dict[str, list[Custom]], "`Custom`"),
        (Text, "`Text`"),
        (Shouting, "`Shouting`"),
        (complex, "`complex`"),
        (Exception, "`Exception`"),
        (Iterator[int], "`Iterator`"),
        (Callable[[int], int], "`Callable`"),
        (Collection[int] | Custom, "unions containing a custom type"),
        (set[list[int]], "A set cannot contain `list`, which is not hashable"),
        (frozenset[Point], "A set cannot contain `Point`"),
        (set[tuple[int, Box]], "A set cannot contain `Box`"),
        (dict[tuple[int, int], str], "A key of a JSON object cannot be `tuple`"),
        (dict[FrozenPoint, str], "A key of a JSON object cannot be `FrozenPoint`"),
        (dict[bool, str], "A key of a JSON object cannot be `bool`"),
        (Shape, "Enums must contain"),
        (datetime | str, "more than one str-like type"),
        (set[int] | list[int], "more than one array-like"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["value", "return"])
def test_a_type_that_cannot_arrive_is_refused_where_the_task_is_defined(
    annotation: object, problem: str, name: str
) -> None:
    def function(value: object) -> object:
        raise NotImplementedError

    function.__annotations__ = {name: annotation}

    with pytest.raises(TaskDefinitionError, match=problem) as refused:
        task(name=f"arrival.{name}")(function)

    assert ("return annotation" if name == "return" else "parameter 'value'") in str(refused.value)


def test_a_plain_function_may_be_annotated_with_the_awaitable_that_it_returns() -> None:
    def function() -> Awaitable[Point]:
        raise NotImplementedError

    codec = CallCodec[Point](function, task_name="t", supplied=frozenset())

    assert codec.decode_result(codec.encode_result(Point(3))) == Point(3)


def test_a_class_that_raises_when_it_is_compared_is_taken_at_its_word() -> None:
    def refuse(self: object, other: object) -> bool:
        raise ValueError("not comparable")

    odd = new_class(
        "Odd", (msgspec.Struct,), {"eq": False}, lambda body: body.update(__eq__=refuse, __annotations__={})
    )

    codec_of(odd).encode((odd(),), {})
