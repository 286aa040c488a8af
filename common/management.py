"""The management listener of a process: `/metrics` for Prometheus, `/livez` and `/readyz` for its supervisor.

It answers in threads of its own and shares no limit with events, so that it answers under full load, and reports a
blocked event loop instead of waiting for it.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Annotated

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from common.logs import logger
from common.metrics import Metrics
from common.page_server import Answer, Page, serve_pages
from common.settings import Address, Documented, EmptyDisables, parse_address

EXIT_CANNOT_SERVE = 1
Reason = Callable[[], str]


def parse_listen(text: object) -> Address | None:
    """Parse `host:port`; None for an empty text."""
    return None if text in {"", None} else parse_address(text)


ManagementListen = Annotated[
    Address | None, NoDecode, BeforeValidator(parse_listen), EmptyDisables(), Documented("host:port, or empty")
]


@contextlib.contextmanager
def managing(
    setting: str,
    listen: Address | socket.socket | None,
    metrics: Metrics,
    live: Reason,
    ready: Reason,
    notes: Reason = lambda: "",
) -> Iterator[Address | None]:
    """Serve the management pages in the block, at the yielded address; nothing if `listen` is None.

    `live` and `ready` return why the process is not; empty if it is. `notes` returns what the answer of a ready process
    adds. They run in threads of the listener and must return soon.

    The process exits with status 1, naming the setting, if the address cannot be used.
    """
    pages = {"/metrics": metrics_page(metrics), "/livez": reason_page(live), "/readyz": reason_page(ready, notes)}
    with managing_pages(setting, listen, pages) as address:
        yield address


@contextlib.contextmanager
def managing_pages(
    setting: str, listen: Address | socket.socket | None, pages: Mapping[str, Page]
) -> Iterator[Address | None]:
    """Serve pages, given by their paths, as `managing` does."""
    if listen is None:
        yield None
        return
    try:
        server = serve_pages(listen, pages)
    except OSError as error:
        logger().error("cannot serve", setting=setting, error=f"{listen}: {error.strerror or error}")
        sys.exit(EXIT_CANNOT_SERVE)
    with server as address:
        yield address


def metrics_page(metrics: Metrics) -> Page:
    """Return the page with the metrics of this process, those of Python and the system included."""
    # Not the library's global registry: the processes of a test share it.
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)

    def page(accept: str) -> Answer:
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # of the library, for a version that is not a number
            encode, content_type = choose_encoder("")
        return Answer(encode(registry), content_type)

    return page


def reason_page(reason: Reason, notes: Reason = lambda: "") -> Page:
    """Return the page of a probe: 200 `ok` and the notes, if there are any, or 503 with the reason."""

    def page(_accept: str) -> Answer:
        problem = reason()
        if problem:
            return Answer(f"{problem}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        added = notes()
        return Answer(f"ok\n{added}\n".encode() if added else b"ok\n")

    return page
