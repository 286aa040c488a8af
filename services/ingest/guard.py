"""What stands between the gRPC library and every method: no text of a library, and no log line per call, gets out.

The library answers an exception with its class and text, and logs a stack for it, also where bytes that are not of the
message are enough to cause one.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from structlog.contextvars import get_contextvars

from services.ingest.metadata import REQUEST_ID
from services.runtime.logs import log_limited

UNREADABLE = "the request is not the Protobuf of this method's message"
UNEXPECTED = "an unexpected error inside the server"
# The library's logger of its server; how those of its lines begin that clients cause, and what is written instead.
LIBRARY = "grpc._cython.cygrpc"
CLIENTS_LINES = {
    "Invalid encoding on": "metadata that is not UTF-8 was left out",
    "ExecuteBatchError raised": "a client left before its answer",
}
# The library's handlers are typed by what they handle.
Dynamic: TypeAlias = Any
Unary: TypeAlias = Callable[[bytes, Dynamic], Awaitable[bytes]]


def guarded(method: Unary) -> Unary:
    """Return a method of bytes whose unexpected errors are INTERNAL to the client and one line, at most, in the log."""

    @functools.wraps(method)
    async def call(request: bytes, context: Dynamic) -> bytes:
        try:
            return await method(request, context)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.InternalError as error:
            raise gone() from error
        except Exception as error:  # noqa: BLE001 -- whatever it is, the library would show it to the client
            await fail(error, context)

    return call


class GuardedServer:
    """A server as the generated code of a library's service needs it, which registers each method guarded."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Leave the handlers out: the same come again by name."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Dynamic]) -> None:
        """Register the methods that the servicer has; those of the generated base only raise an exception."""
        written = {name: parsing(method) for name, method in methods.items() if is_written(behaviour(method))}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, written),))


def parsing(method: Dynamic) -> Dynamic:
    """Return a method that parses its requests itself, so that bytes which are none are INVALID_ARGUMENT."""
    inner, parse, serialize = behaviour(method), method.request_deserializer, method.response_serializer

    async def parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[Dynamic]:
        async for request in requests:
            yield parse(request)

    async def call(request: Dynamic, context: Dynamic) -> Dynamic:
        try:
            result = inner(parsed(request) if method.request_streaming else parse(request), context)
            if not inspect.isasyncgen(result):
                return await result
            async for answer in result:
                await context.write(answer)
        except grpc.aio.AbortError:
            raise
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNREADABLE)
        except grpc.aio.InternalError as error:
            raise gone() from error
        except Exception as error:  # noqa: BLE001 -- as in `guarded`
            await fail(error, context)

    return KINDS[method.request_streaming, method.response_streaming](call, None, serialize)


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


KINDS: dict[tuple[bool, bool], Callable[..., Dynamic]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def behaviour(method: Dynamic) -> Dynamic:
    """Return the function of a handler."""
    return method.unary_unary or method.unary_stream or method.stream_unary or method.stream_stream


def is_written(function: Dynamic) -> bool:
    """Whether a servicer has a method of its own: those of the generated base are plain functions."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


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
