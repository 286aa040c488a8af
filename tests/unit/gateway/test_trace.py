"""Which trace contexts of a client are forwarded to the service."""

from __future__ import annotations

import pytest

from gateway.http.trace import trace_metadata

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


@pytest.mark.parametrize("parent", [PARENT, PARENT.replace("00-", "01-", 1), f"cc{PARENT[2:]}-what-comes.next"])
def test_a_trace(parent: str) -> None:
    """Parent and state are forwarded, also of future versions; several lines of state are one list."""
    first, second = STATE.split(",")
    given = [("traceparent", parent), ("tracestate", first), ("accept", "*/*"), ("tracestate", second)]

    assert trace_metadata([("traceparent", parent)]) == [("traceparent", parent)]
    assert trace_metadata(given) == [("traceparent", parent), ("tracestate", STATE)]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        f" {PARENT}",
        f"{PARENT}\n",
        f"{PARENT}\0",
        f"{PARENT}-more",
        f"{PARENT}, {PARENT}",
        PARENT.replace("00-", "ff-", 1),
        PARENT[:-1],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT.replace("0af7", "0AF7"),
        PARENT.replace("0af7", "\u0660af7"),
        f"cc{PARENT[2:]}-{'a' * 10_000}",
        f"cc{PARENT[2:]}-a\x1b[31m",
    ],
)
def test_a_malformed_parent(parent: str) -> None:
    """Without a valid parent nothing is forwarded."""
    assert trace_metadata([("traceparent", parent), ("tracestate", STATE)]) == []


def test_two_parents() -> None:
    """With two parents nothing is forwarded."""
    assert trace_metadata([("traceparent", PARENT), ("traceparent", PARENT)]) == []


@pytest.mark.parametrize(
    "state",
    [
        "",
        ",",
        "a",
        "=b",
        "a=",
        "A=b",
        "a=b\n",
        "a=b\0",
        "a=b=c",
        "a=\x1b[31m",
        "a=caf\u00e9",
        "a=b,a=c",
        ",".join(f"k{number}=v" for number in range(33)),
        "a=" + "b" * 257,
        "," * 1_000_000,
        "a=b," * 1_000_000,
    ],
)
def test_a_malformed_state(state: str) -> None:
    """A malformed state is left out, and the parent is forwarded without it."""
    assert trace_metadata([("traceparent", PARENT), ("tracestate", state)]) == [("traceparent", PARENT)]
