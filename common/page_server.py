"""A small HTTP server of pages for probes, scrapes and the live page: each connection in a thread, within limits."""

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
from typing import NamedTuple

from common.logs import log_limited
from common.settings import Address

# Connections at once; one more ends the oldest. A scrape and two probes need three.
CONNECTIONS_MAX = 16
# Their threads at once, with those of connections that were ended; how long a new connection waits for one of these.
THREADS_MAX, THREAD_SECONDS_MAX = 2 * CONNECTIONS_MAX, 2.0
# How long a client may take to send its request or to read the answer.
CLIENT_SECONDS_MAX = 10.0
# Connections that the kernel holds until they are accepted.
BACKLOG = 128
# How long the end of the listener may take.
POLL_SECONDS = 0.1
TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """The answer of a page."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    # Beside those that every answer has.
    headers: tuple[tuple[str, str], ...] = ()


# A page gets the request's Accept header.
Page = Callable[[str], Answer]


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
        self._places = threading.BoundedSemaphore(THREADS_MAX)
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
            # Its thread may go on for a while; the next connection ends the next one.
            if oldest is not None:
                del self._open[oldest]
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        if not self._places.acquire(timeout=THREAD_SECONDS_MAX):
            raise TimeoutError
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # of sockets
        """Answer a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

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
