"""Admission: the limits of requests and bytes in flight, and the share of a connection."""

from __future__ import annotations

import contextlib

import pytest

from services.ingest.limits.admission import Admission, InFlight, RejectedError, StreamLimiter

LARGE = 1_000_000


def admitted(admission: Admission, peer: str, size: int = 1) -> int:
    """Admit requests of a peer until one is rejected; return how many were admitted."""
    count = 0
    with contextlib.suppress(RejectedError):
        while True:
            admission.admit(peer, size)
            count += 1
    return count


def test_release() -> None:
    """A request counts until it is released."""
    admission = Admission(requests_max=1, bytes_max=10)
    for _ in range(3):
        admission.admit("a", 10)
        assert admission.in_flight == InFlight(1, 10)
        with pytest.raises(RejectedError, match="1 requests are in flight"):
            admission.admit("b", 1)
        admission.release("a", 10)

    assert admission.in_flight == InFlight(0, 0)


def test_bytes() -> None:
    """Requests are rejected when the sum of their bytes would exceed the limit, whatever their number."""
    admission = Admission(requests_max=1_000, bytes_max=100)
    admission.admit("a", 60)

    with pytest.raises(RejectedError, match="requests of 100 bytes are in flight"):
        admission.admit("b", 41)
    admission.admit("b", 40)
    assert admission.in_flight == InFlight(2, 100)


def test_share_of_a_single_connection() -> None:
    """A single connection gets most of the requests and of the bytes."""
    assert admitted(Admission(1_000, LARGE), "a") == 720
    assert admitted(Admission(1_000, 1_000), "a", size=10) == 72


@pytest.mark.parametrize("greedy", [1, 2, 5, 11, 16])
def test_requests_left_for_others(greedy: int) -> None:
    """Whatever greedy connections take, a connection without requests in flight is admitted."""
    admission = Admission(1_000, LARGE)
    for peer in range(greedy):
        admitted(admission, f"greedy {peer}")

    assert admitted(admission, "modest") >= 5


def test_bytes_left_for_others() -> None:
    """The same holds for the limit of bytes."""
    admission = Admission(1_000, 1_000)
    for peer in range(5):
        admitted(admission, f"greedy {peer}", size=5)

    assert admitted(admission, "modest", size=5) >= 1


def test_large_request_within_a_small_limit() -> None:
    """A connection without requests in flight is never rejected for its share."""
    admission = Admission(1, 1_000)
    admission.admit("a", 1_000)

    assert admission.in_flight == InFlight(1, 1_000)


def test_streams() -> None:
    """Streams are limited in total and on each connection, and released."""
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
