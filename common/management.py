"""The management listener of a process: `/metrics` for Prometheus, `/livez` and `/readyz` for its supervisor.

It answers in threads of its own and shares no limit with events, so that it answers under full load, and reports a
blocked event loop instead of waiting for it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Annotated, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from common.logs import log_limited, logger
from common.metrics import Metrics
from common.settings import Address, Documented, EmptyDisables, parse_address

# Connections at once; one more ends the oldest. A scrape and two probes need three.
CONNECTIONS_MAX = 16
# How long a client may take to send its request or to read the answer.
CLIENT_SECONDS_MAX = 10.0
# Connections that the kernel holds until they are accepted.
BACKLOG = 128
# How long the end of the listener may take.
POLL_SECONDS = 0.1
EXIT_CANNOT_SERVE = 1
TEXT = "text/plain; charset=utf-8"
Reason = Callable[[], str]


def parse_listen(text: object) -> Address | None:
    """Parse `host:port`; None for an empty text."""
    return None if text in {"", None} else parse_address(text)


ManagementListen = Annotated[
    Address | None, NoDecode, BeforeValidator(parse_listen), EmptyDisables(), Documented("host:port, or empty")
]


class Answer(NamedTuple):
    """The answer of a page."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    # Beside those that every answer has.
    headers: tuple[tuple[str, str], ...] = ()


# A page gets the request's Accept header.
Page = Callable[[str], Answer]


class CannotManageError(OSError):
    """The management listener cannot listen at its address."""


@contextlib.contextmanager
def managing(
    setting: str, listen: Address | socket.socket | None, metrics: Metrics, live: Reason, ready: Reason
) -> Iterator[Address | None]:
    """Serve the management pages in the block, at the yielded address; nothing if `listen` is None.

    `live` and `ready` return why the process is not; empty if it is. They run in threads of the listener and must
    return soon. The process exits with status 1, naming the setting, if the address cannot be used.
    """
    pages = {"/metrics": metrics_page(metrics), "/livez": reason_page(live), "/readyz": reason_page(ready)}
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
        encode, content_type = choose_encoder(accept)
        return Answer(encode(registry), content_type)

    return page


def reason_page(reason: Reason) -> Page:
    """Return the page of a probe: 200 `ok`, or 503 with the reason."""

    def page(_accept: str) -> Answer:
        problem = reason()
        if problem:
            return Answer(f"{problem}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ok\n")

    return page


def serve_pages(
    listen: Address | socket.socket, pages: Mapping[str, Page]
) -> contextlib.AbstractContextManager[Address]:
    """Return a context manager that serves pages by their paths until its block ends; OSError if it cannot listen."""
    server = PageServer(pages, listen)
    return server.running()


class PageServer(ThreadingMixIn, HTTPServer):
    """Serves pages, each connection in a thread."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, pages: Mapping[str, Page], listen: Address | socket.socket) -> None:
        """Listen at an address, or on a socket that listens already; OSError if the address cannot be used."""
        self.pages = pages
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        if isinstance(listen, socket.socket):
            super().__init__(("", 0), PageHandler, bind_and_activate=False)
            self.socket.close()
            self.socket = listen
            return
        try:
            self.address_family, *_, address = socket.getaddrinfo(*listen, type=socket.SOCK_STREAM)[0]
        except UnicodeError as error:
            raise OSError("not a valid host name") from error
        super().__init__(address[:2], PageHandler)  # type: ignore[arg-type]  # a host and a port

    def server_bind(self) -> None:
        """Bind; the library's own method would look up the host's name too, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    @contextlib.contextmanager
    def running(self) -> Iterator[Address]:
        """Serve in the block; yield the address."""
        thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), name="management", daemon=True)
        thread.start()
        try:
            name = self.socket.getsockname()
            # A socket of the family AF_UNIX has a path instead of a host and a port.
            yield Address(str(name[0]), int(name[1])) if isinstance(name, tuple) else Address("", 0)
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # of sockets
        """Begin a connection; above the limit the oldest one is ended first."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > CONNECTIONS_MAX else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]  # of sockets
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Log a failure, except for a client that has left or was too slow."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            log_limited(logging.ERROR, "a management request failed", exc_info=error)


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request; the connection then ends."""

    timeout = CLIENT_SECONDS_MAX
    server: PageServer
    server_version, sys_version = "ugc-events", ""

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the head of a page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            names = ", ".join(self.server.pages)
            answer = Answer(f"not a page of this listener, which has {names}\n".encode(), status=HTTPStatus.NOT_FOUND)
        else:
            answer = page(",".join(self.headers.get_all("Accept", [])))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def log_message(self, *_values: object) -> None:
        """Log nothing: probes come every few seconds."""
