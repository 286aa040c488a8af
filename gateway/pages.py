"""What the gateway serves besides the service's methods: handlers by path, and the health checks among them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp.web import Response, StreamResponse

from gateway.backend import Backend
from gateway.errors import OverloadedError, WrongMethodError
from gateway.http.responses import json_response

PAGE_METHODS = ("GET", "HEAD")

PageHandler: TypeAlias = Callable[[], Awaitable[StreamResponse]]
# By path. Pages take precedence over the routes of the descriptor set.
Pages: TypeAlias = Mapping[str, PageHandler]


async def page_response(handler: PageHandler, method: str) -> StreamResponse:
    """Return a page; WrongMethodError for other methods than GET and HEAD."""
    if method not in PAGE_METHODS:
        raise WrongMethodError(PAGE_METHODS)
    return await handler()


class Health:
    """The health checks; `is_draining` makes the gateway unready before it stops."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.is_listening = False
        self.is_draining = False
        # What must be learned from the service before the gateway is ready; empty when nothing must be.
        self.unlearned = ""
        self.pages: Pages = {"/healthz": self.live, "/readyz": self.ready}

    async def live(self) -> Response:
        """Answer that the process runs."""
        return json_response({"status": "alive"})

    async def ready(self) -> Response:
        """Answer whether the service behind the gateway is reachable and serving; OverloadedError when it is not."""
        problem = self.problem(is_serving=not self.is_draining and await self._backend.is_serving())
        if problem:
            raise OverloadedError(problem)
        return json_response({"status": "ready"})

    def problem(self, *, is_serving: bool) -> str:
        """Return why the gateway is not ready, empty if it is; `is_serving` is whether the service serves."""
        if self.is_draining:
            return "stopping"
        if not self.is_listening:
            return "starting"
        return self.unlearned if is_serving else "the service behind the gateway is not serving"
