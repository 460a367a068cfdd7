"""
Encodes arguments and results as JSON, and decodes them to the annotations of the task.

A call is decoded again at enqueue, unless its values surely arrive, so that an argument that a worker could not decode
is refused there.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Generic, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from lq_core.foundation.errors import InvalidArgumentError, TaskDefinitionError
from lq_core.tasks.arrival import ALWAYS, Sure, check_annotation, difference, has_fields, is_sure, is_whole, shown
from lq_core.tasks.injected import hints_of, is_injected
from lq_core.tasks.more_types import read, write
from lq_core.tasks.options import OPTIONS

Result = TypeVar("Result")

_ENCODER: Final = msgspec.json.Encoder(enc_hook=write)
_IN_ORDER: Final = msgspec.json.Encoder(order="deterministic", enc_hook=write)
_REFUSALS: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""The errors of msgspec, and of users' own types, for a value that cannot be encoded."""

_ADVICE: Final = "Annotate it with the type that has to arrive, or convert it first."

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class CallCodec(Generic[Result]):
    """
    Binds, encodes and decodes the arguments of one function, and its results.

    Parameters that lq supplies (*supplied*, and the injected ones) are not part of a call. Raises
    TaskDefinitionError if the annotations cannot be read or have no JSON form.
    """

    def __init__(self, function: Callable[..., object], *, task_name: str, supplied: frozenset[str]) -> None:
        self.task_name = task_name
        whole = inspect.signature(function)
        asked = [parameter for name, parameter in whole.parameters.items() if name not in supplied]
        self.signature = whole.replace(parameters=_without_injected(asked))
        hints = self._hints = hints_of(function, said=f"task {task_name!r}", error=TaskDefinitionError)
        injected = [parameter for parameter in asked if is_injected(parameter)]
        self.injected: Mapping[str, object] = {each.name: hints.get(each.name, Any) for each in injected}
        """The injected parameters, and their annotations."""

        self._injected_by_position = next((each.name for each in injected if each.kind in _BY_POSITION), None)
        _check_injected(task_name, injected, asked)
        parameters = self.signature.parameters
        self._positional = tuple(name for name, p in parameters.items() if p.kind in _BY_POSITION)
        self._nameable = frozenset(name for name, p in parameters.items() if p.kind in _BY_NAME)
        self._required = frozenset(
            name for name, p in parameters.items() if p.default is p.empty and p.kind in (*_BY_POSITION, *_BY_NAME)
        )
        self._variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values())
        self._has_defaults = self._variadic or any(p.default is not p.empty for p in parameters.values())
        self._by_position_only = any(p.kind is p.POSITIONAL_ONLY for p in parameters.values())
        arguments = [_field(parameter, hints.get(name, Any)) for name, parameter in parameters.items()]
        returned = _awaited(function, hints.get("return", Any))
        annotations = [*((name, hints.get(name, Any)) for name in parameters), ("return", returned)]
        self._sure = {name: _check_annotation(task_name, name, annotation) for name, annotation in annotations}
        self._sure |= {name: {} for name, p in parameters.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        shape = msgspec.defstruct("Arguments", arguments, kw_only=True, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(shape, dec_hook=read)
        self._result_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(returned, dec_hook=read)

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """
        Bind a call to the signature and encode it.

        Raises InvalidArgumentError, which names the parameter, if an argument would not arrive as it is given.
        """
        bound = self._bind(args, kwargs)
        try:
            encoded = to_json(bound)
        except _REFUSALS:
            raise self._refused(self._unencodable(bound)) from None
        for name, value in bound.items():
            sure = self._sure[name]
            if sure.get(type(value)) is not ALWAYS and not is_sure(value, sure):
                self._check_arrival(bound, encoded)
                break
        return encoded.decode()

    def schema(self) -> dict[str, Any]:
        """Describe the arguments of a call as a JSON schema; a type that msgspec does not know is only named."""
        return msgspec.json.schema(self._decoder.type, schema_hook=lambda kind: {"title": kind.__name__})

    def decode(self, arguments: str) -> tuple[list[object], dict[str, object]]:
        """Decode an encoded call to the annotated types. Raises msgspec.ValidationError or msgspec.DecodeError."""
        values = asdict(self._decoder.decode(arguments))
        if self._has_defaults:
            values = {name: value for name, value in values.items() if value is not UNSET}
        if not (self._variadic or self._by_position_only):
            return [], values
        args: list[object] = []
        kwargs: dict[str, object] = {}
        in_a_row = True
        for name, parameter in self.signature.parameters.items():
            if name not in values:
                in_a_row = False  # This one takes its default, so the next ones go by name.
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
        Encode some arguments of an encoded call, with their defaults; equal arguments give equal text.

        Raises InvalidArgumentError if a default cannot be encoded.
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
        """
        Encode a result of the function.

        Raises TypeError, ValueError, OverflowError or RecursionError if it does not fit the return annotation, or would
        not arrive as it is.
        """
        encoded = to_json(value)
        sure = self._sure["return"]
        if sure.get(type(value)) is not ALWAYS and not is_sure(value, sure):
            try:
                arrived = self._result_decoder.decode(encoded)
            except msgspec.ValidationError as error:
                raise TypeError(f"{shown(value)} does not fit the return annotation: {error}") from None
            if not is_whole(value, arrived):
                raise TypeError(f"{difference(value, arrived)}. {_ADVICE}")
        return encoded.decode()

    def decode_result(self, result: str) -> Result:
        """Decode an encoded result to the return annotation. Raises msgspec.ValidationError if it does not fit."""
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
            raise self._refused(f"{error}{self._advice(args, kwargs)}") from None

    def _advice(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        parameters = self.signature.parameters
        if option := next((each for each in kwargs if each in OPTIONS and each not in parameters), None):
            return f"; {option} is an option of the task: write task.using({option}=...)"
        given = {*self._positional[: len(args)], *kwargs}
        for name in (name for name in parameters if name in self._required - given):
            annotation = inspect.formatannotation(parameters[name].annotation)
            if has_fields(self._hints.get(name)):
                return f"; if lq has to inject {name!r}, write `{name}: {annotation} = INJECTED`"
        return ""

    def _check_arrival(self, bound: Mapping[str, object], encoded: bytes) -> None:
        try:
            arrived = self._decoder.decode(encoded)
        except (msgspec.ValidationError, *_REFUSALS) as error:
            raise self._refused(self._unreadable(bound, error)) from None
        for name, value in bound.items():
            if not is_whole(value, got := getattr(arrived, name)):
                raise self._refused(f"the argument {name!r}: {difference(value, got)}. {_ADVICE}")

    def _unencodable(self, bound: Mapping[str, object]) -> str:
        for name, value in bound.items():
            try:
                to_json(value)
            except _REFUSALS as error:
                return f"the argument {name!r} cannot be encoded as JSON: {error} (it is {shown(value)})"
        return "the arguments cannot be encoded as JSON"

    def _unreadable(self, bound: Mapping[str, object], error: Exception) -> str:
        name = next((name for name in bound if f"`$.{name}" in str(error)), None)
        said = f"the arguments are {shown(bound)}" if name is None else f"the argument {name!r} is {shown(bound[name])}"
        return f"{said}: {error}"

    def _refused(self, problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(self.task_name, problem, str(self.signature))


def _without_injected(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Leave the injected parameters out; callers give those behind one by name, so that positions stay the same."""
    first = next((place for place, each in enumerate(parameters) if is_injected(each)), len(parameters))
    behind = [each for each in parameters[first:] if not is_injected(each)]
    by_name = [each.replace(kind=each.KEYWORD_ONLY) if each.kind in _BY_POSITION else each for each in behind]
    return [*parameters[:first], *by_name]


def _check_injected(
    task_name: str, injected: Sequence[inspect.Parameter], parameters: Sequence[inspect.Parameter]
) -> None:
    rest = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    for each in injected:
        if each.annotation is each.empty:
            raise TaskDefinitionError(
                f"The injected parameter {each.name!r} of task {task_name!r} has no annotation; "
                f"write it as `{each.name}: Pool = INJECTED`."
            )
        if each.kind is each.POSITIONAL_ONLY or (rest and each.kind is each.POSITIONAL_OR_KEYWORD):
            raise TaskDefinitionError(
                f"The signature of task {task_name!r} does not allow the injected parameter {each.name!r} by name: "
                "put it behind a `*`."
            )


def _check_annotation(task_name: str, name: str, annotation: object) -> Sure:
    is_result = name == "return"
    what = f"The {'return annotation' if is_result else f'parameter {name!r}'} of task {task_name!r}"
    shown = inspect.formatannotation(annotation)
    try:
        return check_annotation(annotation)
    except TypeError as error:
        told = str(error).rstrip(".")
        more = " QueueConfig(type_encoders=..., type_decoders=...), made before the task, adds types."
        more = more if told.endswith("can hold") else ""
        whole = f": `{name}: {shown} = INJECTED`" if " the field " not in told else " as a parameter of its own"
        advice = "" if is_result else f", or let lq inject the value{whole}"
        raise TaskDefinitionError(
            f"{what} is annotated `{shown}`, whose values cannot arrive whole: {told}. "
            f"Use an id or plain data{advice}.{more}"
        ) from error
    except NameError as error:
        raise TaskDefinitionError(
            f"{what} is annotated `{shown}`, and the annotations in it cannot be read: {error}. "
            "Define the types that they name in a module, and import them at run time."
        ) from error


def size_of(encoded: str) -> int:
    """Count the bytes of encoded arguments or of an encoded result."""
    return len(encoded) if encoded.isascii() else len(encoded.encode())


def to_json(value: object) -> bytes:
    """Encode any value as JSON. Raises ValueError for inf and nan, which msgspec would write as null."""
    encoded = _ENCODER.encode(value)
    if b"null" in encoded and (number := _not_finite(msgspec.to_builtins(value, enc_hook=write))) is not None:
        raise ValueError(f"JSON has no number {number}")
    return encoded


def _not_finite(value: object) -> float | None:
    """Find a number in plain data that is infinite or not a number."""
    if isinstance(value, float):
        return None if isfinite(value) else value
    if isinstance(value, dict):
        value = [*cast("dict[object, object]", value).values()]
    inner = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    return next((found for each in inner if (found := _not_finite(each)) is not None), None)


def _awaited(function: Callable[..., object], annotation: Any) -> Any:
    """Return the annotation of what a function returns in the end: lq awaits what a plain function returns."""
    is_awaitable = isinstance(origin := get_origin(annotation), type) and issubclass(origin, Awaitable)
    return get_args(annotation)[-1] if is_awaitable and not inspect.iscoroutinefunction(function) else annotation


def _field(parameter: inspect.Parameter, annotation: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        annotation = list[annotation]
    elif parameter.kind is parameter.VAR_KEYWORD:
        annotation = dict[str, annotation]
    elif parameter.default is parameter.empty:
        return parameter.name, annotation
    return parameter.name, annotation if annotation is Any else annotation | UnsetType, UNSET
