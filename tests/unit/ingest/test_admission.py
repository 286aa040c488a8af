"""Which requests find room: limits of their number and bytes, and the share of a connection."""

from __future__ import annotations

import contextlib

import pytest

from services.ingest.limits.admission import Admission, InFlight, RejectedError, StreamLimiter

LARGE = 1_000_000


def admitted(admission: Admission, peer: str, size: int = 1) -> int:
    """Admit a peer's requests until one is refused; return how many were admitted."""
    count = 0
    with contextlib.suppress(RejectedError):
        while True:
            admission.admit(peer, size)
            count += 1
    return count


def test_place_is_given_back() -> None:
    """A place is free again after the request, also when it failed."""
    admission = Admission(requests_max=1, bytes_max=10)
    for _ in range(3):
        with contextlib.suppress(ValueError), admission.admit("a", 10):
            assert admission.in_flight == InFlight(1, 10)
            with pytest.raises(RejectedError, match="1 requests are in flight"):
                admission.admit("b", 1)
            raise ValueError

    assert admission.in_flight == InFlight(0, 0)


def test_bytes() -> None:
    """Requests are refused by the sum of their bytes, whatever their number."""
    admission = Admission(requests_max=1_000, bytes_max=100)
    admission.admit("a", 60)

    with pytest.raises(RejectedError, match="requests of 100 bytes are in flight"):
        admission.admit("b", 41)
    with admission.admit("b", 40):
        assert admission.in_flight == InFlight(2, 100)


def test_alone() -> None:
    """A connection that is alone gets most of the requests, and of the bytes."""
    assert admitted(Admission(1_000, LARGE), "a") == 720
    assert admitted(Admission(1_000, 1_000), "a", size=10) == 72


@pytest.mark.parametrize("greedy", [1, 2, 5, 11, 16])
def test_room_is_left(greedy: int) -> None:
    """Whatever greedy connections take, one that holds nothing finds room."""
    admission = Admission(1_000, LARGE)
    for peer in range(greedy):
        admitted(admission, f"greedy {peer}")

    assert admitted(admission, "modest") >= 5


def test_room_of_bytes_is_left() -> None:
    """So it is with bytes."""
    admission = Admission(1_000, 1_000)
    for peer in range(5):
        admitted(admission, f"greedy {peer}", size=5)

    assert admitted(admission, "modest", size=5) >= 1


def test_one_large_request_finds_room_in_a_small_budget() -> None:
    """The share never refuses a connection that holds nothing."""
    with Admission(1, 1_000).admit("a", 1_000):
        pass


def test_streams() -> None:
    """Long calls are limited in all and on each connection, and counted down."""
    streams = StreamLimiter(streams_max=3, connection_streams_max=2)
    streams.acquire("a")
    streams.acquire("a")
    with pytest.raises(RejectedError, match="a connection may have 2"):
        streams.acquire("a")
    streams.acquire("b")
    with pytest.raises(RejectedError, match="3 of these streams are open"):
        streams.acquire("c")
    streams.release("a")

    streams.acquire("c")
