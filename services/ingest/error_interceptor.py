"""What stands between the gRPC library and every method: no text of a library, and no log line per call, gets out.

The library answers an exception with its class and text, and logs a stack for it, also where bytes that are not of the
message are enough to cause one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
from structlog.contextvars import get_contextvars

from common.logs import log_limited
from services.ingest.metadata import REQUEST_ID

UNEXPECTED = "an unexpected error inside the server"
# The library's logger of its server; how those of its lines begin that clients cause, and what is written instead.
LIBRARY = "grpc._cython.cygrpc"
CLIENTS_LINES = {
    "Invalid encoding on": "metadata that is not UTF-8 was left out",
    "ExecuteBatchError raised": "a client left before its answer",
}
# The library's handlers are typed by what they handle.
Dynamic: TypeAlias = Any
M = TypeVar("M")
R = TypeVar("R")
Method: TypeAlias = Callable[[M, Dynamic], Awaitable[R]]


def guarded(method: Method[M, R]) -> Method[M, R]:
    """Return a method whose unexpected errors are INTERNAL to the client and one line, at most, in the log."""

    @functools.wraps(method)
    async def call(messages: M, context: Dynamic) -> R:
        try:
            return await method(messages, context)
        except grpc.aio.AbortError as error:
            raise bare(error) from None
        except grpc.aio.InternalError as error:
            raise gone() from error
        except Exception as error:  # noqa: BLE001 -- whatever it is, the library would show it to the client
            await fail(error, context)

    return call


def bare(error: grpc.aio.AbortError) -> grpc.aio.AbortError:
    """Return the error without the frames that it came through.

    The library keeps it in a cycle of references, and with it a refused request of megabytes until the next collection.
    """
    error.__context__ = None
    return error.with_traceback(None)


def gone() -> asyncio.CancelledError:
    """Log that an answer could not be sent; the connection is gone, so the call is cancelled, as the library has it."""
    log_limited(logging.INFO, CLIENTS_LINES["ExecuteBatchError raised"])
    return asyncio.CancelledError()


async def fail(error: Exception, context: Dynamic) -> NoReturn:
    """Log an unexpected error, and end its call with INTERNAL and the id of its line in the log."""
    log_limited(logging.ERROR, "a call failed unexpectedly", exc_info=error)
    request_id = get_contextvars().get("request_id")
    trailing = ((REQUEST_ID, request_id),) if request_id else ()
    await context.abort(grpc.StatusCode.INTERNAL, UNEXPECTED, trailing)
    raise error  # the line above raises, but not for those who read types


def limit_library_log() -> None:
    """Count what clients cause instead of logging a stack for each: a call can have thousands of bad values."""
    library: Dynamic = logging.getLogger(LIBRARY)
    if not isinstance(library.exception, functools.partial):
        # The method itself, not a filter: to make a record that is thrown away costs 7 us.
        library.exception = functools.partial(log_exception, library.exception)


def log_exception(log: Callable[..., None], message: object, *values: object, **options: Dynamic) -> None:
    """Log as the library does, except for what a client causes; the bad values themselves are read by nobody."""
    text = str(message)
    for beginning, words in CLIENTS_LINES.items():
        if text.startswith(beginning):
            log_limited(logging.INFO, words)
            return
    log(message, *values, **options)
