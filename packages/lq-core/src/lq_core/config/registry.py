"""Finds backend classes: by a registered name, in installed packages, or by import path."""

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Generic, TypeVar

from lq_core.foundation.errors import PACKAGES, ConfigurationError, UnknownBackendError
from lq_core.foundation.import_path import load as load_path

Backend = TypeVar("Backend")


class BackendRegistry(Generic[Backend]):
    """The backends of one kind (``"queue"`` or ``"execution"``) that this process can find."""

    def __init__(self, kind: str, base: type[Backend], *, own: Mapping[str, str] | None = None) -> None:
        """Begin with the import paths of *own* backends, which are found without a look at what is installed."""
        self._kind = kind
        self._own = own or {}
        self._base = base
        self._group = f"lq.{kind}_backends"
        self._registered: dict[str, type[Backend]] = {}

    def register(self, name: str) -> Callable[[type[Backend]], type[Backend]]:
        """Return a decorator that registers a class under a short name; it precedes installed packages."""

        def decorate(backend: type[Backend]) -> type[Backend]:
            self._registered[name] = self._checked(backend, name)
            return backend

        return decorate

    def names(self) -> set[str]:
        """Return the short names that exist in this process."""
        return {*self._registered, *self._own, *self._installed()}

    def check(self, path: str) -> None:
        """
        Raise UnknownBackendError for an unknown short name, without importing anything.

        A backend of another lq package may be missing here: only the process that runs the record needs it.
        """
        if not {".", ":"} & set(path) and path not in PACKAGES and not self._knows(path):
            raise UnknownBackendError(self._kind, path, self.names())

    def load(self, path: str) -> type[Backend]:
        """
        Find a backend class by short name, ``pkg.module.Class`` or ``pkg.module:Class``.

        Raises UnknownBackendError for an unknown short name, ConfigurationError for a path without a backend class.
        """
        if path in self._registered:
            return self._registered[path]
        if path not in self._own and not {".", ":"} & set(path):
            if not self._knows(path):
                raise UnknownBackendError(self._kind, path, self.names())
            return self._checked(self._installed()[path](), path)
        path_of_class = self._own.get(path, path)
        named = path_of_class if ":" in path_of_class else ":".join(path_of_class.rpartition(".")[::2])
        return self._checked(load_path(named, said=f"The {self._kind} backend is {path!r}"), path)

    def _knows(self, name: str) -> bool:
        if name in self._registered or name in self._own or name in self._installed():
            return True
        _entries.cache_clear()  # It may have been installed since.
        return name in self.names()

    def _installed(self) -> Mapping[str, Callable[[], object]]:
        return _entries(self._group, tuple(sys.path))

    def _checked(self, backend: object, name: str) -> type[Backend]:
        if not (isinstance(backend, type) and issubclass(backend, self._base)):
            raise ConfigurationError(
                f"The {self._kind} backend {name!r} is {backend!r}, which is not a subclass of {self._base.__name__}."
            )
        return backend


@lru_cache
def _entries(group: str, _: tuple[str, ...]) -> Mapping[str, Callable[[], object]]:
    """Read what the installed packages register, each of which takes about 0.1 ms."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- a tenth of `import lq_core`, needed once it runs

    return {entry.name: entry.load for entry in entry_points(group=group)}
