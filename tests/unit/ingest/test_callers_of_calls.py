"""What the limits learn of a call: who makes it, how long it may take, and how urgent it is."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from common.networks import LOOPBACK
from services.ingest.auth.authentication import caller_of
from services.ingest.call import Call
from services.ingest.limits.callers import CallerNames
from services.ingest.metadata import read_metadata

PEER = "ipv4:127.0.0.1:4000"
NAMES = CallerNames(LOOPBACK)


class Context:
    """A call of gRPC with a deadline."""

    def __init__(self, left: float | None) -> None:
        self._left = left

    def time_remaining(self) -> float | None:
        return self._left


@pytest.mark.parametrize(
    ("claims", "caller"),
    [
        ({"sub": "viewer", "azp": "player"}, "sub:viewer"),
        ({"azp": "player"}, "azp:player"),
        ({"sub": "", "azp": "player"}, "azp:player"),
        ({"sub": 7}, ""),
        ({}, ""),
        ({"sub": "x" * 10_000}, "sub:" + "x" * 128),
    ],
)
def test_caller_of_a_token(claims: dict[str, object], caller: str) -> None:
    """A token's subject is the caller, or else the client that it was issued to; long names are cut."""
    assert caller_of(claims) == caller


def test_the_token_has_priority() -> None:
    """A caller with a token is named by it, whatever its address."""
    call = Call(read_metadata([("x-forwarded-for", "203.0.113.7")]), PEER)
    assert call.caller(NAMES) == "203.0.113.0/24"
    call.subject = "sub:viewer"

    assert call.caller(NAMES) == "sub:viewer"


def test_deadlines() -> None:
    """A relayed call has its deadline by the clock, one alone that of gRPC, and some have none."""
    metadata = read_metadata([])
    alone: Any = Context(3.0)
    endless: Any = Context(None)

    assert 1.0 < Call(metadata, PEER, time.monotonic() + 60.0).seconds_left() <= 60.0
    assert Call(metadata, PEER, alone).seconds_left() == 3.0
    assert {Call(metadata, PEER, endless).seconds_left(), Call(metadata).seconds_left()} == {math.inf}


@pytest.mark.parametrize(("value", "is_low"), [("low", True), ("LOW", False), ("", False)])
def test_priority(value: str, is_low: bool) -> None:
    """The class `low` is spelled exactly so."""
    assert Call(read_metadata([("x-ugc-priority", value)])).is_low_priority == is_low
