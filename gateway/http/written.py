"""Responses as bytes, as aiohttp writes them, for connections on which the gateway writes itself."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp.helpers import rfc822_formatted_time
from aiohttp.web import Response

from gateway.http.head import REQUEST_ID
from gateway.http.responses import COMMON_HEADERS, JSON

CLOSE = b"Connection: close\r\n"
# The statuses of a success for which no response is made before.
PREPARED_STATUSES = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.MULTI_STATUS)


def start_of(status: HTTPStatus) -> bytes:
    """Return a JSON response up to the value of its request id."""
    headers = {"Content-Type": JSON, **COMMON_HEADERS}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}{REQUEST_ID}: ".encode()


STARTS = {status.value: start_of(status) for status in PREPARED_STATUSES}


class DateLine:
    """The end of a head, with the date, which is made once a second."""

    def __init__(self) -> None:
        self._date = ""
        self._line = b""

    def __call__(self) -> bytes:
        """Return the line of the current second, and the empty line."""
        date = rfc822_formatted_time()
        if date is not self._date:
            self._date, self._line = date, f"\r\nDate: {date}\r\n".encode()
        return self._line


date_line = DateLine()


def json_answer(status: int, identity: str, cors: bytes, body: bytes, *, is_last: bool) -> bytes:
    """Return a JSON response with a status of STARTS and without metadata; after the last one the connection closes."""
    return b"%b%b\r\n%bContent-Length: %d%b%b\r\n%b" % (
        STARTS[status], identity.encode(), cors, len(body), date_line(), CLOSE if is_last else b"", body,
    )  # fmt: skip


def whole_answer(response: Response, *, is_last: bool) -> bytes:
    """Return a response whose body is bytes, of any status; after the last one the connection closes."""
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101 -- a response to a call is JSON
    lines = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    has_body = response.status != HTTPStatus.NO_CONTENT
    length = f"Content-Length: {len(body)}" if has_body else ""
    head = f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}{length}".encode()
    date = date_line() if has_body else date_line().removeprefix(b"\r\n")
    return head + date + (CLOSE if is_last else b"") + b"\r\n" + (body if has_body else b"")
