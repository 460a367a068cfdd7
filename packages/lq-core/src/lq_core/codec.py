"""
Arguments and results as JSON and back, typed by the task's own annotations.

A call is encoded and decoded again at enqueue, so that what cannot arrive is refused where it was written.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Generic, TypeVar, cast, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from lq_core.errors import InvalidArgumentError, TaskDefinitionError
from lq_core.injected import is_injected

Result = TypeVar("Result")

_ENCODER: Final = msgspec.json.Encoder()
_IN_ORDER: Final = msgspec.json.Encoder(order="deterministic")
_REFUSALS: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec and the encoders of users' types raise for a value that they cannot write."""

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class CallCodec(Generic[Result]):
    """
    Binds, encodes and decodes the arguments of one function, and its results.

    Parameters that lq supplies itself (*supplied*, and the injected ones) are no part of a call. Raises
    TaskDefinitionError when the annotations cannot be read or have no JSON form.
    """

    def __init__(self, function: Callable[..., object], *, task_name: str, supplied: frozenset[str]) -> None:
        self.task_name = task_name
        whole = inspect.signature(function)
        asked = [parameter for name, parameter in whole.parameters.items() if name not in supplied]
        self.signature = whole.replace(parameters=_without_injected(asked))
        hints = _hints(function, task_name)
        injected = [parameter for parameter in asked if is_injected(parameter)]
        self.injected: Mapping[str, object] = {each.name: hints.get(each.name, Any) for each in injected}
        """The parameters that are given where the function runs, and their annotations."""

        self._injected_by_position = next((each.name for each in injected if each.kind in _BY_POSITION), None)
        _check_injected(task_name, injected, asked)
        parameters = self.signature.parameters
        self._positional = tuple(name for name, p in parameters.items() if p.kind in _BY_POSITION)
        self._nameable = frozenset(name for name, p in parameters.items() if p.kind in _BY_NAME)
        self._required = frozenset(
            name for name, p in parameters.items() if p.default is p.empty and p.kind in (*_BY_POSITION, *_BY_NAME)
        )
        self._variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
        self._by_position_only = any(p.kind is p.POSITIONAL_ONLY for p in parameters.values())
        fields = [_field(parameter, hints.get(name, Any)) for name, parameter in parameters.items()]
        try:
            arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
            self._decoder = msgspec.json.Decoder(arguments)
            self._result_decoder = msgspec.json.Decoder(hints.get("return", Any))
        except TypeError as error:
            raise TaskDefinitionError(
                f"The annotations of task {task_name!r} have no JSON form: {error} "
                "Pass an id or plain data instead of this type."
            ) from error

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Bind a call to the signature and encode it. Raises InvalidArgumentError, which names the parameter."""
        bound = self._bind(args, kwargs)
        try:
            encoded = _encoded(bound)
        except _REFUSALS:
            raise self._refused(self._unencodable(bound)) from None
        try:
            self._decoder.decode(encoded)
        except msgspec.ValidationError as error:
            raise self._refused(str(error)) from None
        return encoded.decode()

    def decode(self, arguments: str) -> tuple[list[object], dict[str, object]]:
        """Decode an encoded call to the annotated types. Raises msgspec.ValidationError or msgspec.DecodeError."""
        decoded = self._decoder.decode(arguments)
        values = {name: value for name in decoded.__struct_fields__ if (value := getattr(decoded, name)) is not UNSET}
        if not (self._variadic or self._by_position_only):
            return [], values
        args: list[object] = []
        kwargs: dict[str, object] = {}
        in_a_row = True
        for name, parameter in self.signature.parameters.items():
            if name not in values:
                in_a_row = False  # A default is taken here, so that what follows goes by name.
            elif parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(values[name])
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(values[name])
            elif parameter.kind in _BY_POSITION and in_a_row:
                args.append(values[name])
            else:
                kwargs[name] = values[name]
        return args, kwargs

    def encode_some(self, arguments: str, names: Iterable[str]) -> str:
        """
        Encode some arguments of an encoded call, by name and with their defaults: the same for calls that say the same.

        Raises InvalidArgumentError when one cannot be encoded as its annotation says.
        """
        decoded = self._decoder.decode(arguments)
        parameters = self.signature.parameters
        values = {
            name: parameters[name].default if (value := getattr(decoded, name)) is UNSET else value for name in names
        }
        try:
            return _IN_ORDER.encode(values).decode()
        except _REFUSALS as error:
            raise self._refused(f"the key cannot be made of {', '.join(values)}: {error}") from None

    def encode_result(self, value: object) -> str:
        """Encode what the function returned. Raises TypeError, ValueError, OverflowError or RecursionError."""
        return _encoded(value).decode()

    def decode_result(self, result: str) -> Result:
        """Decode an encoded result to the annotated return type. Raises msgspec.ValidationError if it does not fit."""
        return self._result_decoder.decode(result)

    def _bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        if not self._variadic and len(args) <= len(self._positional):
            bound = dict(zip(self._positional, args, strict=False))
            if not kwargs or (kwargs.keys() <= self._nameable and not kwargs.keys() & bound.keys()):
                bound.update(kwargs)
                if self._required <= bound.keys():
                    return bound
        given = next((name for name in self.injected if name in kwargs), None)
        if given is None and len(args) > len(self._positional):
            given = self._injected_by_position
        if given is not None:
            raise self._refused(f"the argument {given!r} is injected where the task runs; leave it out")
        try:
            return self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise self._refused(str(error)) from None

    def _unencodable(self, bound: Mapping[str, object]) -> str:
        for name, value in bound.items():
            try:
                _encoded(value)
            except _REFUSALS as error:
                return f"the argument {name!r} cannot be encoded as JSON: {error}"
        return "the arguments cannot be encoded as JSON"

    def _refused(self, problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(self.task_name, problem, str(self.signature))


def _without_injected(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Take the injected ones out; those behind one are given by name, so that a position means what is written."""
    left: list[inspect.Parameter] = []
    seen = False
    for parameter in parameters:
        if is_injected(parameter):
            seen = True
        elif seen and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            left.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
        else:
            left.append(parameter)
    return left


def _check_injected(
    task_name: str, injected: Sequence[inspect.Parameter], parameters: Sequence[inspect.Parameter]
) -> None:
    rest = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    for each in injected:
        if each.annotation is each.empty:
            raise TaskDefinitionError(
                f"The parameter {each.name!r} of task {task_name!r} is to be injected and has no annotation; "
                f"write it as `{each.name}: Pool = INJECTED`."
            )
        if each.kind is each.POSITIONAL_ONLY or (rest and each.kind is each.POSITIONAL_OR_KEYWORD):
            raise TaskDefinitionError(
                f"The parameter {each.name!r} of task {task_name!r} is injected by its name, which the signature does "
                "not allow: put it behind a `*`."
            )


def size_of(encoded: str) -> int:
    """Count the bytes of encoded arguments or of an encoded result."""
    return len(encoded) if encoded.isascii() else len(encoded.encode())


def _encoded(value: object) -> bytes:
    """Encode a value; what msgspec would write as null although it is a number is refused with a ValueError."""
    encoded = _ENCODER.encode(value)
    if b"null" in encoded and (number := _no_number(msgspec.to_builtins(value))) is not None:
        raise ValueError(f"{number} is no number in JSON")
    return encoded


def _no_number(value: object) -> float | None:
    """Find a number in plain data that is infinite or not a number."""
    if isinstance(value, float):
        return None if isfinite(value) else value
    if isinstance(value, dict):
        value = [*cast("dict[object, object]", value).values()]
    inner = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    return next((found for each in inner if (found := _no_number(each)) is not None), None)


def _field(parameter: inspect.Parameter, annotation: object) -> tuple[str, Any] | tuple[str, Any, Any]:
    name, kind = parameter.name, parameter.kind
    annotation = Any if annotation is parameter.empty else annotation
    if kind is parameter.VAR_POSITIONAL:
        return name, list[annotation] | UnsetType, UNSET
    if kind is parameter.VAR_KEYWORD:
        return name, dict[str, annotation] | UnsetType, UNSET
    if parameter.default is parameter.empty:
        return name, annotation
    return name, annotation if annotation is Any else annotation | UnsetType, UNSET


def _hints(function: Callable[..., object], task_name: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TaskDefinitionError(
            f"The annotations of task {task_name!r} cannot be read: {error}. "
            "Import the types it names at run time, not under TYPE_CHECKING."
        ) from error
