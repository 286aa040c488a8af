"""The error interceptor does not keep requests in memory."""

from __future__ import annotations

import weakref
from typing import Any

import grpc
import pytest

from services.ingest.error_interceptor import intercept_errors


class Request:
    """Stands for the bytes of a request, which do not support weak references."""


async def test_aborted_call_keeps_nothing() -> None:
    """The error of an aborted call, which the library keeps for a while, does not reference the call's request."""
    kept: list[weakref.ref[Request]] = []
    context: Any = None

    async def method(_messages: object, _context: object) -> None:
        request = Request()
        kept.append(weakref.ref(request))
        try:
            int("not a number")
        except ValueError:
            raise grpc.aio.AbortError from None

    with pytest.raises(grpc.aio.AbortError) as caught:
        await intercept_errors(method)(None, context)

    assert caught.value
    assert kept[0]() is None
