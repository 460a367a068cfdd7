"""Import paths: another process finds a module, a class or a function by its name."""

import inspect
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Final, TypeGuard

from lq_core.foundation.errors import ConfigurationError, closest

TRUSTED: Final[set[str]] = set()
"""The packages of the tasks of this process: a stored path may name only a function of one of them."""


def trust(thing: Callable[..., object]) -> None:
    """Let stored paths name functions of the package of *thing*."""
    TRUSTED.add(_package_of(thing))


def module_of(thing: Callable[..., object]) -> str:
    """Return the module of a class or function, as another process imports it."""
    return _main_module() if thing.__module__ == "__main__" else thing.__module__


def path_of(thing: Callable[..., object]) -> str:
    """Name a class or a function with its module, as in ``builtins.OSError``."""
    return f"{module_of(thing)}.{thing.__qualname__}"


def path_of_function(function: Callable[..., object]) -> str:
    """Name a function of a module, as in ``shop.tasks:patience``. Raises ConfigurationError for any other."""
    path = f"{module_of(function)}:{getattr(function, '__qualname__', '')}"
    with suppress(ImportError, AttributeError):
        if _function_at(path) is function:
            trust(function)
            return path
    raise ConfigurationError(
        f"No other process can find {function!r} by its name; define it at the top level of a module."
    )


def function_at(path: str) -> Callable[..., object]:
    """
    Import the function that a record names. Raises ImportError or AttributeError.

    Whoever can write to the database must not be able to call any function: it must be of a package that has tasks
    in this process, or has given the path itself.
    """
    if path.partition(":")[0].partition(".")[0] in TRUSTED and _package_of(found := _function_at(path)) in TRUSTED:
        return found
    raise ImportError(f"{path} is not in a package of the tasks of this process, so it is not called.")


def _package_of(thing: Callable[..., object]) -> str:
    return str(module_of(thing)).partition(".")[0]


def _function_at(path: str) -> Callable[..., object]:
    module, _, name = path.partition(":")
    found = attrgetter(name)(sys.modules["__main__"] if module == _main_module() else import_module(module))
    assert callable(found)
    return found


def load(path: str, *, said: str) -> object:
    """
    Import the object that ``module:attribute`` names.

    Raises ConfigurationError, whose message begins with *said*: what names the path, and the path.
    """
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"{said}; write it as module:attribute, such as shop:config.")
    if "/" in module or module.endswith(".py"):
        file = Path(module).with_suffix("")
        module = file.name if file.is_absolute() else ".".join(file.parts)
        raise ConfigurationError(f"{said}, a path; name the module as an import does: {module}:{attribute}.")
    found: object = import_of_application(module, said=said)
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            owner = f"module {found.__name__}" if isinstance(found, ModuleType) else repr(found)
            advice = closest(name, dir(found))
            raise ConfigurationError(f"{said}, but the {owner} has no {name!r}. {advice}".rstrip()) from None
    return found


def is_factory(found: object) -> TypeGuard[Callable[[], object]]:
    """Whether *found* is a function, plain or async, that can be called without arguments."""
    if not inspect.isfunction(found):
        return False
    try:
        inspect.signature(found).bind()
    except TypeError:
        return False
    return True


@contextmanager
def calling(path: str, *, why: str = "") -> Generator[None, None, None]:
    """Turn an error of the function at ``module:attribute`` into a ConfigurationError that names the place."""
    module, _, name = path.partition(":")
    with _located(f"Calling {path}{why}", see=f'python -c "import {module}; {module}.{name}()"'):
        yield


def import_of_application(module: str, *, said: str) -> ModuleType:
    """
    Import a module of the application.

    Raises ConfigurationError: its message begins with *said* if the module does not exist, and names the place of
    the error if the module raises.
    """
    with _located(f"Importing {module!r}", see=f'python -c "import {module}"'):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            missing = error
    here = [path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    advice = closest(module, here, f"lq looked in {Path.cwd()} and on the Python path.")
    raise ConfigurationError(f"{said}, but there is no module {missing.name!r}. {advice}") from missing


@contextmanager
def _located(doing: str, *, see: str) -> Generator[None, None, None]:
    """Turn an error in code of the application into a ConfigurationError that names the place in that code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}".rstrip(".")
        raise ConfigurationError(
            f"{doing} failed{_place(error)}: {told}. See the whole traceback with: {see}"
        ) from error


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # Its message names the place.
    from sysconfig import get_path  # noqa: PLC0415 -- as much time as ten modules, for an error

    libraries = (Path(__file__).parents[1], *(Path(get_path(name)) for name in ("stdlib", "purelib", "platlib")))
    for frame in reversed(extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(file.is_relative_to(library) for library in libraries):
            return f" in {file}, line {frame.lineno}"
    return ""


def _main_module() -> str:
    # A worker imports the same file under its own name.
    file = getattr(sys.modules["__main__"], "__file__", None)
    return (file and inspect.getmodulename(file)) or "__main__"
