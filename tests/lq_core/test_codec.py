"""Arguments and results: what arrives is what the annotations say, and what cannot arrive is refused at the call."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lq_core import INJECTED, InvalidArgumentError, TaskDefinitionError
from lq_core.tasks.codec import CallCodec


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclass
class Box:
    corner: Point
    label: str | None = None


def codec_of(function: object) -> CallCodec[object]:
    assert callable(function)
    return CallCodec(function, task_name="t", supplied=frozenset())


def everything(
    *, when: datetime, who: UUID, price: Decimal, colour: Colour, point: Point, box: Box, raw: bytes, wait: timedelta
) -> Decimal:
    raise NotImplementedError


def mixed(first: int, /, second: str, *rest: float, keyword: bool = False, **more: UUID) -> None:
    raise NotImplementedError


def plain(name: str, times: int = 1) -> None:
    raise NotImplementedError


def narrow(size: Annotated[int, msgspec.Meta(gt=0)], kind: Literal["a", "b"] = "a") -> None:
    raise NotImplementedError


def loose(value, *, other=None) -> None:  # noqa: ANN001 # pyright: ignore[reportUnknownParameterType, reportMissingParameterType] -- a function without annotations is the example
    raise NotImplementedError


def test_rich_types_come_back_as_themselves() -> None:
    given_values = {
        "when": datetime(2026, 5, 1, 12, 30, 0, 123456, tzinfo=UTC),
        "who": UUID(int=7),
        "price": Decimal("10.10"),
        "colour": Colour.RED,
        "point": Point(1, 2),
        "box": Box(Point(3), "b"),
        "raw": b"\x00\xff",
        "wait": timedelta(minutes=5),
    }
    codec = codec_of(everything)

    _, arrived = codec.decode(codec.encode((), given_values))

    assert arrived == given_values
    assert {name: type(value) for name, value in arrived.items()} == {n: type(v) for n, v in given_values.items()}


def test_every_kind_of_parameter_arrives_where_it_belongs() -> None:
    codec = codec_of(mixed)

    args, kwargs = codec.decode(codec.encode((1, "two", 3.0, 4.5), {"keyword": True, "other": UUID(int=5)}))

    assert (args, kwargs) == ([1, "two", 3.0, 4.5], {"keyword": True, "other": UUID(int=5)})


def test_a_default_is_not_stored_so_that_the_code_may_change_it() -> None:
    assert codec_of(plain).encode(("ada",), {}) == '{"name":"ada"}'


def test_without_annotations_plain_data_arrives_as_it_was() -> None:
    codec = codec_of(loose)  # pyright: ignore[reportUnknownArgumentType] -- as above

    assert codec.decode(codec.encode(([1, "x", None],), {"other": {"k": 1.5}})) == (
        [],
        {"value": [1, "x", None], "other": {"k": 1.5}},
    )


@pytest.mark.parametrize(
    "args, kwargs, problem",
    [
        ((1,), {}, r"Expected `str`, got `int` - at `\$\.name`"),
        ((), {}, "missing a required argument: 'name'"),
        (("a", 1, 2), {}, "too many positional arguments"),
        (("a",), {"name": "b"}, "multiple values for argument 'name'"),
        (("a",), {"tims": 2}, "unexpected keyword argument 'tims'"),
        ((object(),), {}, "the argument 'name' cannot be encoded as JSON"),
        (("a",), {"times": float("nan")}, "the argument 'times' cannot be encoded as JSON: JSON has no number nan"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_the_parameter(
    args: tuple[object, ...], kwargs: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=problem) as refused:
        codec_of(plain).encode(args, kwargs)

    assert "t(name: str, times: int = 1)" in str(refused.value)


@pytest.mark.parametrize("args, where", [((0,), "size"), ((1, "c"), "kind")])
def test_constraints_of_the_annotation_hold_at_the_call(args: tuple[object, ...], where: str) -> None:
    with pytest.raises(InvalidArgumentError, match=where):
        codec_of(narrow).encode(args, {})


def test_an_annotation_that_cannot_be_read_is_refused_with_the_name() -> None:
    def lost(x: "Missing") -> None:  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType] # noqa: F821 -- the missing name is the example
        raise NotImplementedError

    with pytest.raises(TaskDefinitionError, match="Missing"):
        codec_of(lost)  # pyright: ignore[reportUnknownArgumentType] -- as above


def test_results_come_back_as_the_return_annotation_says() -> None:
    codec = codec_of(everything)

    assert codec.decode_result(codec.encode_result(Decimal("1.50"))) == Decimal("1.50")


@given(st.text(), st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_any_text_and_any_whole_number_arrive_unchanged(name: str, times: int) -> None:
    codec = codec_of(plain)

    assert codec.decode(codec.encode((name, times), {})) == ([], {"name": name, "times": times})


@pytest.mark.parametrize("value", [float("nan"), {"mean": (1.0, float("inf"))}, Point(1, -float("inf"))])  # pyright: ignore[reportArgumentType] -- a wrong type is part of the example
def test_a_result_with_a_number_that_json_has_not_is_refused_instead_of_turned_into_null(value: object) -> None:
    with pytest.raises(ValueError, match="JSON has no number"):
        codec_of(plain).encode_result(value)


class Pool:
    """Something that has no JSON form."""


def with_pool(name: str, pool: Pool = INJECTED, times: int = 1, *, other: Pool = INJECTED) -> None:
    raise NotImplementedError


def with_pool_and_more(name: str, /, pool: Pool = INJECTED, **more: int) -> None:
    raise NotImplementedError


def with_pool_before_the_rest(pool: Pool = INJECTED, *rest: int) -> None:
    raise NotImplementedError


def with_pool_by_position_only(pool: Pool = INJECTED, /) -> None:
    raise NotImplementedError


def with_untyped_pool(pool=INJECTED) -> None:  # noqa: ANN001 # pyright: ignore[reportMissingParameterType] -- a missing annotation is the example
    raise NotImplementedError


def test_an_injected_parameter_is_not_part_of_the_call() -> None:
    codec = codec_of(with_pool)

    encoded = codec.encode(("ada",), {"times": 2})

    assert encoded == '{"name":"ada","times":2}'
    assert codec.decode(encoded) == ([], {"name": "ada", "times": 2})
    assert codec.injected == {"pool": Pool, "other": Pool}


def test_what_follows_an_injected_parameter_arrives_where_it_belongs() -> None:
    codec = codec_of(with_pool_and_more)

    assert codec.decode(codec.encode(("ada",), {"times": 2})) == (["ada"], {"times": 2})


@pytest.mark.parametrize("function", [with_pool, with_pool_and_more])
@pytest.mark.parametrize("args, kwargs", [(("ada", Pool()), {}), (("ada",), {"pool": Pool()})])
def test_who_gives_what_is_injected_is_refused_with_the_parameter(
    function: object, args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgumentError, match="'pool' is injected where the task runs; leave it out"):
        codec_of(function).encode(args, kwargs)


@pytest.mark.parametrize(
    "function, advice",
    [
        (with_pool_before_the_rest, r"'pool'.*put it behind a `\*`"),
        (with_pool_by_position_only, r"'pool'.*put it behind a `\*`"),
        (with_untyped_pool, "write it as `pool: Pool = INJECTED`"),
    ],
)
def test_a_parameter_that_cannot_be_injected_is_refused_with_the_way_to_write_it(function: object, advice: str) -> None:
    with pytest.raises(TaskDefinitionError, match=advice):
        codec_of(function)


class Door(msgspec.Struct):
    number: int
    pool: Pool | None = INJECTED


@dataclass
class House:
    doors: list[Door]
    pool: Pool


class Settings(msgspec.Struct):
    path: str


def with_door(door: Door) -> None:
    raise NotImplementedError


def with_house(house: House | None) -> None:
    raise NotImplementedError


def with_settings(name: str, settings: Settings) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    "function, advice",
    [
        (with_door, "INJECTED is the default of the field 'pool', and lq injects only parameters.* of its own"),
        (with_house, "in the field 'doors': INJECTED is the default of the field 'pool'"),
    ],
)
def test_a_field_cannot_be_injected(function: object, advice: str) -> None:
    with pytest.raises(TaskDefinitionError, match=advice):
        codec_of(function)


def test_a_missing_value_with_fields_may_have_to_be_injected() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"'settings'; if lq has to inject .*`settings: .*Settings = INJECTED`"
    ):
        codec_of(with_settings).encode(("a",), {})
    with pytest.raises(InvalidArgumentError, match=r"missing a required argument: 'first'$"):
        codec_of(gapped).encode((), {})


def gapped(first: int, /, second: int = 1, third: int = 2) -> None:
    raise NotImplementedError


def test_a_default_in_the_middle_keeps_its_place() -> None:
    codec = codec_of(gapped)

    assert codec.decode(codec.encode((7,), {"third": 5})) == ([7], {"third": 5})
