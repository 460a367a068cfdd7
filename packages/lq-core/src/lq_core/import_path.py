"""Names for what is defined in Python, by which another process finds it again."""

import inspect
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from sysconfig import get_path
from traceback import FrameSummary, extract_tb
from types import ModuleType

from lq_core.errors import ConfigurationError


def module_of(thing: Callable[..., object]) -> str:
    """Return the module of a class or function, as another process would import it."""
    return _main_module() if thing.__module__ == "__main__" else thing.__module__


def path_of_class(kind: type) -> str:
    """Name a class, such as ``builtins.OSError``."""
    return f"{module_of(kind)}.{kind.__qualname__}"


def path_of_function(function: Callable[..., object]) -> str:
    """Name a function of a module, such as ``shop.tasks:patience``. Raises ConfigurationError for any other."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        raise ConfigurationError(f"{function!r} has no name by which another process finds it; use a def of a module.")
    if "<" in name:
        raise ConfigurationError(f"No other process finds {name}, a lambda or a local function; use a def of a module.")
    path = f"{module_of(function)}:{name}"
    try:
        found = function_at(path)
    except (ImportError, AttributeError):
        found = None
    if found is not function:
        raise ConfigurationError(f"{path} is not this function, so no other process finds it; use a def of a module.")
    return path


def function_at(path: str) -> Callable[..., object]:
    """Find the function of this name. Raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    found: object = sys.modules["__main__"] if module == _main_module() else import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    return found


def import_of_application(module: str) -> ModuleType:
    """
    Import a module of the application.

    Raises ModuleNotFoundError when it is not there, and ConfigurationError, which tells the place, when it raises.
    """
    with faults_told(f"Importing {module!r}", see=f'python -c "import {module}"'):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            missing = error
    raise missing


@contextmanager
def faults_told(doing: str, *, see: str) -> Generator[None, None, None]:
    """Make what code of the application raises a ConfigurationError, which tells the place in that code."""
    try:
        yield
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}".rstrip(".")
        raise ConfigurationError(f"{doing} failed{_place(error)}: {told}. See all of it with: {see}") from error


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # Its message has the place of the fault; where it was imported says less.
    frames = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).is_file()]
    theirs = [frame for frame in frames if _is_of_application(frame)]
    return f" in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""


def _is_of_application(frame: FrameSummary) -> bool:
    libraries = (Path(__file__).parent, Path(get_path("stdlib")), Path(get_path("purelib")), Path(get_path("platlib")))
    return not any(Path(frame.filename).is_relative_to(library) for library in libraries)


def _main_module() -> str:
    # A worker imports the same file under its own name.
    file = getattr(sys.modules["__main__"], "__file__", None)
    return (file and inspect.getmodulename(file)) or "__main__"
