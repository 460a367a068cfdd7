"""Gives functions their injected values, by annotation: per worker, per attempt, and those of lq itself."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any

from lq_core.attempts.resource import Resource
from lq_core.foundation.errors import MissingProviderError
from lq_core.tasks.call import TaskCall
from lq_core.tasks.context import TaskContext
from lq_core.tasks.injected import without_none
from lq_core.tasks.provider import Provider, Scope, by_type, key_of, type_name


class OpenedValues(AsyncExitStack[None]):
    """The open values of one attempt. Their providers see its exception when they close, and cannot suppress it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)


class Injector:
    """
    The providers of one service, and its open values per worker.

    *given* are values that need no provider, by type. Raises ConfigurationError if providers cannot work together,
    MissingProviderError if one needs a value that has no provider.
    """

    def __init__(self, providers: Sequence[Provider[object]], *, given: Mapping[object, object]) -> None:
        self._providers = by_type(providers)
        self._given = given
        self._known = {TaskContext, *given, *self._providers}
        self._resources: dict[Provider[object], Resource] = {}
        self._opened: list[Resource] = []
        self._surroundings: Context | None = None
        for provider in self._providers.values():
            self._check(provider.name, provider.needs)

    def open(self) -> None:
        """Keep the current context variables for the values per worker."""
        self._surroundings = copy_context()

    async def close(self) -> None:
        """Close the values per worker, the last opened first."""
        others = [each for each in self._resources.values() if each not in self._opened]
        async with AsyncExitStack() as closing:
            closing.callback(self._resources.clear)
            closing.callback(self._opened.clear)
            for resource in (*self._opened, *others):
                closing.push_async_callback(resource.close)

    def check_calls(self, calls: Iterable[TaskCall[Any]]) -> None:
        """
        Raise MissingProviderError if the task of a call asks for a value that has no provider.

        A service without providers cannot know: it may only enqueue.
        """
        for call in calls if self._providers else ():
            self._check(call.task_name, call.codec.injected)

    def missing(self, wanted: Mapping[str, object]) -> Mapping[str, object]:
        """Return the wanted values that have no provider."""
        return {parameter: kind for parameter, kind in wanted.items() if self._key(kind) not in self._known}

    async def provide(
        self, asker: str, wanted: Mapping[str, object], context: TaskContext, opened: AsyncExitStack
    ) -> Mapping[str, object]:
        """
        Open the values that one attempt wants, by parameter, each once; *opened* closes them.

        Raises MissingProviderError, and the errors of the providers.
        """
        self._check(asker, wanted)
        made: dict[object, object] = {**self._given, TaskContext: context}
        return {parameter: await self._value(kind, made, opened) for parameter, kind in wanted.items()}

    async def _value(self, wanted: object, made: dict[object, object], opened: AsyncExitStack) -> object:
        kind = self._key(wanted)
        if kind not in made:
            provider = self._providers[kind]
            if provider.scope is Scope.WORKER:
                made[kind] = await self._resource(provider)
            else:
                needs = {name: await self._value(needed, made, opened) for name, needed in provider.needs.items()}
                made[kind] = await provider.enter(opened, needs)
        return made[kind]

    async def _resource(self, provider: Provider[object]) -> object:
        resource = self._resources.get(provider)
        if resource is None or resource.has_failed:
            surroundings = (self._surroundings or copy_context()).copy()
            needs = partial(self._resources_for, provider)
            resource = Resource(provider, needs, surroundings=surroundings, when_open=self._opened.append)
            self._resources[provider] = resource
        return await resource.value()

    async def _resources_for(self, provider: Provider[object]) -> Mapping[str, object]:
        return {
            parameter: self._given[kind] if kind in self._given else await self._resource(self._providers[kind])
            for parameter, kind in ((name, self._key(wanted)) for name, wanted in provider.needs.items())
        }

    def _key(self, kind: object) -> object:
        return key_of(kind, self._known)

    def _check(self, asker: str, wanted: Mapping[str, object]) -> None:
        for parameter, kind in self.missing(wanted).items():
            raise MissingProviderError(asker, parameter, type_name(without_none(kind)))
