"""Handling of unexpected errors: a client gets INTERNAL without details, the log gets a bounded number of lines.

By default the gRPC library sends an exception's class and text to the client and logs a stack trace for each, even
where malformed bytes of a client are the cause.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeAlias, TypeVar

import grpc

from common.logs import log_limited
from services.ingest.call import UNEXPECTED, Context

# The logger of the library's server, and the beginnings of its lines that clients cause, with what is logged instead.
LIBRARY = "grpc._cython.cygrpc"
INVALID_METADATA = "metadata that is not UTF-8 was left out"
CLIENT_CAUSED = {
    "Invalid encoding on": INVALID_METADATA,
    "ExecuteBatchError raised": "a client left before its answer",
}
M = TypeVar("M")
R = TypeVar("R")
Method: TypeAlias = Callable[[M, Context], Awaitable[R]]


def intercept_errors(method: Method[M, R]) -> Method[M, R]:
    """Return a method whose unexpected errors are INTERNAL for the client and, rate-limited, one line in the log."""

    @functools.wraps(method)
    async def call(messages: M, context: Context) -> R:
        try:
            return await method(messages, context)
        except grpc.aio.AbortError as error:
            raise without_frames(error) from None
        except grpc.aio.InternalError as error:
            raise connection_lost() from error
        except Exception as error:  # noqa: BLE001 -- the library would send any exception's text to the client
            await abort(error, context)

    return call


def without_frames(error: grpc.aio.AbortError) -> grpc.aio.AbortError:
    """Return the error without its traceback.

    The library keeps the error in a reference cycle, and the frames would keep a rejected request of megabytes until
    the next garbage collection.
    """
    error.__context__ = None
    return error.with_traceback(None)


def connection_lost() -> asyncio.CancelledError:
    """Log that an answer could not be sent, and return the cancellation with which the library ends such a call."""
    log_limited(logging.INFO, CLIENT_CAUSED["ExecuteBatchError raised"])
    return asyncio.CancelledError()


async def abort(error: Exception, context: Context) -> NoReturn:
    """Log an unexpected error, and end its call with INTERNAL."""
    log_limited(logging.ERROR, "a call failed unexpectedly", exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, UNEXPECTED)


def limit_library_log() -> None:
    """Limit the library's log lines that clients cause, of which one call can cause thousands, each with a stack."""
    library = logging.getLogger(LIBRARY)
    if not isinstance(library.exception, functools.partial):
        # The method is replaced, as a filter comes too late: creating a record that is dropped costs 7 us.
        library.exception = functools.partial(log_exception, library.exception)  # type: ignore[method-assign]  # see above


def log_exception(log: Callable[..., None], message: object, *values: object, **options: object) -> None:
    """Log as the library does, except for what a client causes."""
    text = str(message)
    for beginning, event in CLIENT_CAUSED.items():
        if text.startswith(beginning):
            log_limited(logging.INFO, event)
            return
    log(message, *values, **options)
