"""From ``module:config``, as it is typed, to the configuration that it names."""

import sys
from difflib import get_close_matches
from inspect import iscoroutinefunction, isfunction
from pathlib import Path
from types import ModuleType

from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.import_path import faults_told, import_of_application


def load_config(target: str) -> QueueConfig:
    """
    Import the QueueConfig, or the function that makes one, that *target* names.

    The working directory comes first among the places where modules are found. Raises ConfigurationError.
    """
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise ConfigurationError(f"{target!r} names no configuration; write it as module:config, such as shop:config.")
    if "/" in name or name.endswith(".py"):
        path = Path(name).with_suffix("")
        module = path.name if path.is_absolute() else ".".join(path.parts)
        raise ConfigurationError(f"{target!r} names a path; name the module, as an import does: {module}:{attribute}.")
    found: object = _find(_imported(name, target), attribute)
    if iscoroutinefunction(found):
        raise ConfigurationError(
            f"{target} is an async function; it must be a QueueConfig, or a plain function that makes one."
        )
    if isfunction(found):
        with faults_told(f"Calling {target}", see=f'python -c "import {name}; {name}.{attribute}()"'):
            found = found()
    if not isinstance(found, QueueConfig):
        raise ConfigurationError(
            f"{target} is {type(found).__name__}; it must be a QueueConfig, or a function that makes one."
        )
    return found


def look_in_working_directory() -> None:
    """Let modules of the working directory be found, as when Python itself is started there."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _imported(name: str, target: str) -> ModuleType:
    look_in_working_directory()
    try:
        return import_of_application(name)
    except ModuleNotFoundError as error:
        close = get_close_matches(name, _modules_here(), n=1)
        advice = (
            f"Did you mean {close[0]!r}?" if close else f"It was looked for in {Path.cwd()} and on the Python path."
        )
        raise ConfigurationError(f"There is no module {error.name!r} (from {target}). {advice}") from error


def _find(module: ModuleType, attribute: str) -> object:
    try:
        return getattr(module, attribute)
    except AttributeError:
        configs = [name for name, value in vars(module).items() if isinstance(value, QueueConfig)]
        close = get_close_matches(attribute, [*configs, *vars(module)], n=1) or configs
        advice = f"Did you mean {close[0]!r}?" if close else "Define it there: it is a QueueConfig."
        raise ConfigurationError(f"The module {module.__name__} has no {attribute!r}. {advice}") from None


def _modules_here() -> list[str]:
    return [path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
