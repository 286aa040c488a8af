"""Keeps what the gateway serves equal to what the service behind it runs, asked by reflection.

The service is asked at start, each time that the gateway is connected again, and periodically. A change is served from
the next request on. While the service cannot be asked, or returns descriptors that cannot be served, nothing changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from common.logs import log_limited
from common.outage_log import OutageLog
from gateway.api import build_api, unknown_api, with_document
from gateway.app import Api, Gateway
from gateway.backend import Backend
from gateway.balancing.reflected import ReflectedReplicas
from gateway.descriptors import Schema, load_schema
from gateway.errors import DescriptorError
from gateway.openapi.declarations import Declarations
from gateway.openapi.page import NOT_LEARNED
from gateway.pages import Health
from gateway.reflection import Learned, UnreachableError, UnsupportedError
from gateway.settings import REFLECTION, GatewaySettings


class Source(Protocol):
    """What the gateway serves, as far as only the service can state it."""

    # Whether the gateway serves nothing before it has learned something.
    is_required: bool

    async def refresh(self) -> Api | None:
        """Return what to serve from now on, None when it is the same as before.

        UnreachableError when the service could not be asked, another DescriptorError when its answer cannot be used.
        """


class ReflectedServices:
    """Everything is learned from the service: its descriptors are those that it reflects."""

    is_required = True

    def __init__(self, settings: GatewaySettings, health: Health, reflection: ReflectedReplicas) -> None:
        self._settings = settings
        self._health = health
        self._reflection = reflection
        self._learned: Learned | None = None
        # Why the learned descriptors cannot be served; the text alone, for an exception keeps what its frames refer to.
        self._problem = ""

    async def refresh(self) -> Api | None:
        """Return what to serve when the service's descriptors have changed."""
        learned = await self._reflection.learn()
        if learned == self._learned:
            if self._problem:
                raise DescriptorError(self._problem)
            return None
        try:
            # Beside the event loop, because large descriptors take long.
            api = await asyncio.to_thread(self._build, learned)
        except DescriptorError as error:
            self._learned, self._problem = learned, str(error)
            raise
        except Exception as error:
            self._learned, self._problem = learned, f"the descriptors cannot be served: {type(error).__name__}"
            raise DescriptorError(self._problem) from error
        self._learned, self._problem = learned, ""
        services = sorted(learned.services)
        routes = len(api.routes.all)
        log_limited(logging.INFO, "learned the services", kind=tuple(services), services=services, routes=routes)
        return api

    def _build(self, learned: Learned) -> Api:
        schema = load_schema(learned.descriptors, learned.services)
        return build_api(self._settings, self._health, schema, learned.services)


class OptionalServices:
    """The descriptors are those of a file; only which optional services are documented is learned."""

    is_required = False

    def __init__(self, settings: GatewaySettings, api: Api, schema: Schema, reflection: ReflectedReplicas) -> None:
        self._settings = settings
        self._api = api
        self._schema = schema
        self._reflection = reflection
        self._served: frozenset[str] = frozenset()

    async def refresh(self) -> Api | None:
        """Return what to serve when the service's optional services have changed."""
        try:
            served = await self._reflection.services()
        except UnsupportedError:
            served = frozenset()
        if served == self._served:
            return None
        api = with_document(self._api, self._settings, self._schema, served)
        self._served = served
        return api


def source_of(settings: GatewaySettings, health: Health, backend: Backend) -> tuple[Api, Source | None]:
    """Return what to serve first, and what is learned from the service while the gateway runs, if anything is.

    DescriptorError or OSError when the file of the setting cannot be served.
    """
    if settings.gateway_descriptors == REFLECTION:
        return unknown_api(settings, health), ReflectedServices(settings, health, backend.reflection())
    schema = load_schema(settings.gateway_descriptors.read_bytes())
    api = build_api(settings, health, schema)
    declarations = Declarations(schema)
    if any(declarations.is_optional(route.method.containing_service) for route in api.routes.all):
        return api, OptionalServices(settings, api, schema, backend.reflection())
    return api, None


@contextlib.asynccontextmanager
async def discovering(gateway: Gateway, backend: Backend, source: Source | None) -> AsyncIterator[None]:
    """Refresh what the gateway serves in the block; the gateway is not ready before the service was asked."""
    if source is None:
        yield
        return
    gateway.health.unlearned = NOT_LEARNED
    connected = asyncio.Event()
    tasks = [
        asyncio.create_task(note_connections(backend, connected)),
        asyncio.create_task(keep_current(gateway, source, backend, connected)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def note_connections(backend: Backend, connected: asyncio.Event) -> None:
    """Set the event each time that the gateway is connected, until cancelled."""
    async for _ in backend.connections():
        connected.set()


async def keep_current(gateway: Gateway, source: Source, backend: Backend, connected: asyncio.Event) -> None:
    """Refresh what the gateway serves, until cancelled."""
    outage = OutageLog("learning the services behind the gateway")
    while True:
        connected.clear()
        try:
            await refresh(gateway, source, backend, outage)
        except Exception:  # noqa: BLE001 -- the last resort: what is served stays, and is refreshed the next time
            log_limited(logging.ERROR, "learning the services failed unexpectedly", exc_info=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(gateway.settings.gateway_reflection_seconds):
                await connected.wait()


async def refresh(gateway: Gateway, source: Source, backend: Backend, outage: OutageLog) -> None:
    """Ask the service once; what cannot be used is logged, and what is served stays."""
    try:
        api = await source.refresh()
    except UnreachableError as error:
        if source.is_required:
            outage.failed(error)
            return
        if not await backend.is_serving():
            return  # the service is down, which /readyz shows
        # A proxy between them answers for reflection alone.
        outage.failed(error)
        api = None
    except DescriptorError as error:
        outage.failed(error)
        if source.is_required:
            return
        api = None
    else:
        outage.over()
    if api is not None:
        gateway.api = api
    gateway.health.unlearned = ""
