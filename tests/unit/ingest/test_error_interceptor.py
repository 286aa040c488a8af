"""What stands between the library and a method keeps no request alive."""

from __future__ import annotations

import weakref

import grpc
import pytest

from services.ingest.error_interceptor import intercept_errors
from tests.support.clients.calls import fake_context


class Request:
    """Stands for the bytes of a request, which cannot be referred to weakly."""


async def test_ended_call_holds_nothing() -> None:
    """The error of a call that was ended, which the library keeps for a while, does not keep the call's request."""
    held: list[weakref.ref[Request]] = []

    async def method(_messages: object, _context: object) -> None:
        request = Request()
        held.append(weakref.ref(request))
        try:
            int("no number")
        except ValueError:
            raise grpc.aio.AbortError from None

    with pytest.raises(grpc.aio.AbortError) as caught:
        await intercept_errors(method)(None, fake_context())

    assert caught.value
    assert held[0]() is None
