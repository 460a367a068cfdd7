"""Names for what is defined in Python, by which another process finds it again."""

import inspect
import sys
from collections.abc import Callable
from importlib import import_module

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


def _main_module() -> str:
    # A worker imports the same file under its own name.
    file = getattr(sys.modules["__main__"], "__file__", None)
    return (file and inspect.getmodulename(file)) or "__main__"
