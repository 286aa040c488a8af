"""Metadata: which values ingest uses when a client may send any bytes."""

from __future__ import annotations

import pytest

from services.ingest.metadata import CallMetadata, read_metadata

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SENT = ("traceparent", PARENT)
ILLEGAL = (
    "a\nb",
    "a\r\nx: y",
    "a\x1b[31mb",
    "a\0b",
    "a\x7fb",
    "\u00e9",
    "\u00ff",
    "\u202ea",
    "a b",
    "a\tb",
    b"ab",
    b"\xff",
)


def states(*values: str | bytes) -> bytes | str | None:
    """Return the tracestate among the Kafka headers."""
    headers = read_metadata([SENT, *(("tracestate", value) for value in values)]).headers
    return dict(headers or []).get("tracestate")


@pytest.mark.parametrize(
    "value", ["a", "0198f2c4-7b1c-7def-8abc-0123456789ab", "Root=1-5759e988/x:y+z@h._=", "x" * 128]
)
def test_request_id(value: str) -> None:
    """A request id of the allowed characters is used and becomes a Kafka header."""
    assert read_metadata([("x-request-id", value)]) == CallMetadata(value, [("x-request-id", value.encode())], ())


@pytest.mark.parametrize("value", ["", "x" * 129, '"', "{", "%0a", *ILLEGAL])
def test_invalid_request_id(value: str | bytes) -> None:
    """Any other request id is ignored."""
    assert read_metadata([("x-request-id", value)]) == CallMetadata(None, None, ())


@pytest.mark.parametrize(
    "value",
    [PARENT, PARENT.replace("00-", "01-", 1), f"cc{PARENT[2:]}-what-the-future-will-be-like", f"fe{PARENT[2:]}-"],
)
def test_trace_parent(value: str) -> None:
    """A valid traceparent of W3C Trace Context becomes a Kafka header."""
    assert read_metadata([("traceparent", value)]).headers == [("traceparent", value.encode())]


@pytest.mark.parametrize(
    "value",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}0",
        f"{PARENT}-x",
        f"{PARENT}\n",
        f" {PARENT}",
        f"ff{PARENT[2:]}",
        f"01{PARENT[2:]}-{'x' * 201}",
        f"01{PARENT[2:]}-\n",
        f"01{PARENT[2:]}.x",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT.replace("-", "\0"),
        *ILLEGAL,
    ],
)
def test_invalid_trace_parent(value: str | bytes) -> None:
    """Any other traceparent is ignored, together with its tracestate."""
    assert read_metadata([("traceparent", value), ("tracestate", "a=1")]).headers is None


@pytest.mark.parametrize(
    ("values", "passed_on"),
    [
        (["vendor=1"], b"vendor=1"),
        (["a=1,b@c=2 3!", "t/x_*-=~"], b"a=1,b@c=2 3!,t/x_*-=~"),
        (["a=1 , b=2,,\tc=3 "], b"a=1,b=2,c=3"),
        ([f"a={'x' * 256}"], f"a={'x' * 256}".encode()),
        ([",".join(f"k{number}=v" for number in range(32))], ",".join(f"k{number}=v" for number in range(32)).encode()),
        ([",".join(f"k{number}=v" for number in range(33))], None),
        ([f"a={'x' * 257}"], None),
        (["a=1", "b=" + "x" * 509], None),
        (["," * 600], None),
        ([""], None),
        (["a"], None),
        (["=1"], None),
        (["A=1"], None),
        (["a="], None),
        (["a=1=2"], None),
        (["a=1", b"\xff"], None),
        *[([f"a={value}" if isinstance(value, str) else value], None) for value in ILLEGAL if value != "a b"],
    ],
)
def test_trace_state(values: list[str | bytes], passed_on: bytes | None) -> None:
    """A tracestate becomes a Kafka header if all of it is valid; several values are one list."""
    assert states(*values) == passed_on


def test_repeated() -> None:
    """A repeated request id or traceparent is ambiguous and ignored; all authorizations are returned."""
    twice = [("x-request-id", "a"), ("traceparent", PARENT), ("authorization", "x")] * 2

    assert read_metadata(twice) == CallMetadata(None, None, ["x", "x"])


def test_other_names() -> None:
    """Metadata of other names is ignored."""
    others: list[tuple[str, str | bytes]] = [
        ("cookie", "secret"),
        ("x-request-id-bin", b"a"),
        ("grpcgateway-authorization", "Bearer x"),
        ("a", b"\xff"),
    ]

    assert read_metadata(others) == CallMetadata(None, None, ())
    assert read_metadata([]) == CallMetadata(None, None, ())
