"""Gives functions what they ask for by annotation: values per worker, values per attempt, and what lq itself has."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from lq_core.context import TaskContext
from lq_core.errors import MissingProviderError
from lq_core.provider import Provider, Scope, by_type, type_name
from lq_core.resource import Resource
from lq_core.task import TaskCall


class Injector:
    """
    The providers of one service, and the values per worker that are open.

    *given* are values that need no provider, by type. Raises ConfigurationError for providers that cannot work
    together, MissingProviderError when one needs what nobody provides.
    """

    def __init__(self, providers: Sequence[Provider[object]], *, given: Mapping[object, object]) -> None:
        self._providers = by_type(providers)
        self._given = given
        self._resources: dict[Provider[object], Resource] = {}
        self._opened: list[Resource] = []
        self._surroundings: Context | None = None
        for provider in self._providers.values():
            self._check(provider.name, provider.needs)

    def open(self) -> None:
        """Keep the context variables of now for the values per worker, whichever attempt asks for one first."""
        self._surroundings = copy_context()

    async def close(self) -> None:
        """Close the values per worker, the last opened first."""
        opened = set(self._opened)
        for resource in (*(each for each in self._resources.values() if each not in opened), *reversed(self._opened)):
            await resource.close()
        self._resources.clear()
        self._opened.clear()

    def check_calls(self, calls: Iterable[TaskCall[Any]]) -> None:
        """
        Refuse a call of a task that asks for what nobody provides. Raises MissingProviderError.

        A service without any providers is taken for one that only enqueues: it cannot know.
        """
        for call in calls if self._providers else ():
            self._check(call.task_name, call.codec.injected)

    def missing(self, wanted: Mapping[str, object]) -> Mapping[str, object]:
        """Tell which of the wanted values nobody provides."""
        known = {TaskContext, *self._given, *self._providers}
        return {parameter: kind for parameter, kind in wanted.items() if kind not in known}

    async def provide(
        self, asker: str, wanted: Mapping[str, object], context: TaskContext, opened: AsyncExitStack
    ) -> Mapping[str, object]:
        """
        Open what one attempt wants, by parameter; *opened* closes it. Each provider is asked once per attempt.

        Raises MissingProviderError, and what the providers raise.
        """
        self._check(asker, wanted)
        made: dict[object, object] = {**self._given, TaskContext: context}
        return {parameter: await self._value(kind, made, opened) for parameter, kind in wanted.items()}

    async def _value(self, kind: object, made: dict[object, object], opened: AsyncExitStack) -> object:
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
            for parameter, kind in provider.needs.items()
        }

    def _check(self, asker: str, wanted: Mapping[str, object]) -> None:
        for parameter, kind in self.missing(wanted).items():
            raise MissingProviderError(asker, parameter, type_name(kind))
