"""Ingest's server with bytes that gRPC clients do not send: in metadata, and in place of Protobuf."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from common import logs
from common.settings import Address
from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import read_secret
from services.ingest.debug import DisabledDebugServicer
from services.ingest.events.records import Headers, Record, Records
from services.ingest.events.validation import EventValidator, batch_limits
from services.ingest.kafka.errors import DeliveryFailure
from services.ingest.probes import Probes
from services.ingest.server import serving
from services.ingest.servicer import IngestServicer
from services.ingest.settings import IngestSettings
from tests.support.clients.calls import EVENT_BYTES_MAX, FakePublisher
from tests.support.clients.raw_http2 import Header, RawConnection, raw_connection
from tests.support.inputs.events import documented
from tests.support.inputs.tokens import SECRET, signed

PRODUCE, BATCH_PRODUCE = "/ugc.v1.IngestService/Produce", "/ugc.v1.IngestService/BatchProduce"
RANDOM = "/ugc.v1.DebugService/RandomBatchProduce"
CHECK, WATCH, LIST = (f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch", "List"))
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
EVENT = documented().SerializeToString()
BATCH = b"\x0a" + bytes((len(EVENT) & 0x7F | 0x80, len(EVENT) >> 7)) + EVENT
OK, INVALID_ARGUMENT, UNIMPLEMENTED, INTERNAL, UNAUTHENTICATED = b"0", b"3", b"12", b"13", b"16"
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ILLEGAL = [
    b"a\nb",
    b"a\r\nb",
    b"a\x1b[31m",
    b"a\0b",
    b"\x7f",
    "\u00e9".encode(),
    "\u202e".encode(),
    b"\xff",
    b"\xc3",
    b" a",
]
SETTINGS = IngestSettings(ingest_listen=Address("127.0.0.1", 0), ingest_drain_seconds=0, ingest_stop_seconds_max=0)
NOT_PROTOBUF = (b"\xff\xff", b"\x0a\x05a", b"\x0a\x02\xff\xfe", b"\x0b", b"\x00\x00")
# HTTP/2 adds 32 bytes to each, and a call may have 64 KiB.
VALUES = 1_000


class FailingPublisher(FakePublisher):
    """Raises an unexpected error."""

    async def publish(self, records: Records, headers: Headers | None = None) -> dict[int, DeliveryFailure]:  # noqa: ARG002 -- as the publisher has it
        raise ZeroDivisionError("a secret of the server")

    def send(
        self,
        record: Record,  # noqa: ARG002 -- as the publisher has it
        headers: Headers | None,  # noqa: ARG002 -- likewise
        on_report: Callable[[DeliveryFailure | None], None],  # noqa: ARG002 -- likewise
    ) -> None:
        raise ZeroDivisionError("a secret of the server")


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def connection(publisher: FakePublisher) -> AsyncIterator[RawConnection]:
    async with connected(publisher) as connection:
        yield connection


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EventDict]]:
    """Capture the log lines."""
    monkeypatch.setattr(logs, "CLIENT_LINES", logs.RateLimiter())
    with capture_logs() as entries:
        yield entries


@contextlib.asynccontextmanager
async def connected(
    publisher: FakePublisher, authenticator: Authenticator | None = None
) -> AsyncIterator[RawConnection]:
    """Serve, and connect to the server."""
    servicer = IngestServicer(EventValidator(EVENT_BYTES_MAX), batch_limits(), publisher, 1.0, authenticator)
    async with (
        serving(SETTINGS, servicer, DisabledDebugServicer(), lambda _: None, Probes(servicer.metrics)) as address,
        raw_connection(address) as connection,
    ):
        yield connection


def above_debug(lines: list[EventDict]) -> list[str]:
    """Return the events of the lines above the level debug."""
    return [line["event"] for line in lines if line["log_level"] != "debug"]


@pytest.mark.parametrize("name", [b"x-request-id", b"traceparent", b"tracestate"])
@pytest.mark.parametrize("value", ILLEGAL)
async def test_illegal_values(connection: RawConnection, publisher: FakePublisher, name: bytes, value: bytes) -> None:
    """Values that are not legal in a header are dropped before the event is stored, and the call succeeds."""
    for path, message in ((PRODUCE, EVENT), (BATCH_PRODUCE, BATCH)):
        headers: list[Header] = [(b"x-request-id", b"good"), (name, value)]
        if name == b"x-request-id":
            headers = [(name, value)]
        answer = await connection.call(path, message, headers)

        assert (answer.last(b"grpc-status"), answer.last(b"x-http-code")) == (OK, b"201")
        if name == b"x-request-id":
            assert len(answer.last(b"x-request-id") or b"") == 32
            assert publisher.headers is None
        else:
            assert answer.last(b"x-request-id") == b"good"
            assert publisher.headers == [("x-request-id", b"good")]


@pytest.mark.parametrize("value", ILLEGAL)
async def test_illegal_id_of_a_rejected_call(connection: RawConnection, value: bytes) -> None:
    """An error is the same, whatever the request id."""
    for path, message, status in ((PRODUCE, b"\xff", INVALID_ARGUMENT), (RANDOM, b"", b"5")):
        answer = await connection.call(path, message, [(b"x-request-id", value)])

        assert answer.last(b"grpc-status") == status
        assert len(answer.last(b"x-request-id") or b"") == 32


async def test_legal_values(connection: RawConnection, publisher: FakePublisher) -> None:
    """Legal values among many illegal ones are used."""
    headers = [(b"x-request-id", b"a:1"), (b"traceparent", PARENT), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    answer = await connection.call(PRODUCE, EVENT, [*headers, (b"other", b"\xff\n"), (b"user-agent", b"\xff")])

    assert answer.last(b"x-request-id") == b"a:1"
    assert publisher.headers == [("x-request-id", b"a:1"), ("traceparent", PARENT), ("tracestate", b"a=1,b=2")]


async def test_many_values_that_are_not_utf_8(
    connection: RawConnection, lines: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    """Thousands of values that are not UTF-8 cause one log line."""
    for name in (b"f", b"authorization", b"x-request-id"):
        for _call in range(3):
            answer = await connection.call(PRODUCE, EVENT, [(name, b"\xff")] * VALUES)
            assert answer.last(b"grpc-status") == OK

    assert above_debug(lines) == ["metadata that is not UTF-8 was left out"]
    assert caplog.records == []


def test_other_lines_of_the_library_remain(caplog: pytest.LogCaptureFixture, lines: list[EventDict]) -> None:
    """Only that line of the library is limited; its other lines are logged."""
    library = logging.getLogger("grpc._cython.cygrpc")
    library.exception("Invalid encoding on %s", b"\xff")
    library.exception("Unexpected [%s]", "x")

    assert [record.getMessage() for record in caplog.records] == ["Unexpected [x]"]
    assert len(lines) == 1


@pytest.mark.parametrize("several", [[f"Bearer {signed()}"] * 2, ["", f"Bearer {signed()}"], ["Bearer \x1b", "\u00e9"]])
async def test_two_authorizations(publisher: FakePublisher, several: list[str]) -> None:
    """Two values are rejected, whatever they are; one of them alone is accepted."""
    async with connected(publisher, Authenticator(read_secret(SECRET), TokenRules(), 10)) as connection:
        alone = await connection.call(PRODUCE, EVENT, [(b"authorization", f"Bearer {signed()}".encode())])
        rejected = await connection.call(PRODUCE, EVENT, [(b"authorization", value.encode()) for value in several])

    assert alone.last(b"grpc-status") == OK
    assert rejected.last(b"grpc-status") == UNAUTHENTICATED
    assert rejected.last(b"grpc-message") == b"there must be one authorization, not 2"
    assert len(publisher.records) == 1


@pytest.mark.parametrize(
    "value", [b"Bearer \xff", b"Bearer a\nb", b"Bearer \0", b"\xc3\xa9", b"Bearer " + b"x" * 9_000]
)
async def test_illegal_authorization(publisher: FakePublisher, lines: list[EventDict], value: bytes) -> None:
    """An authorization with illegal bytes is rejected, and no part of it is in the answer or the log."""
    async with connected(publisher, Authenticator(read_secret(SECRET), TokenRules(), 10)) as connection:
        answer = await connection.call(PRODUCE, EVENT, [(b"authorization", value)])

    assert answer.last(b"grpc-status") == UNAUTHENTICATED
    assert (answer.last(b"grpc-message") or b"").startswith(b"the authorization must be")
    assert "Bearer" not in str(lines)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        *itertools.product((CHECK, WATCH, REFLECTION, PRODUCE, BATCH_PRODUCE), NOT_PROTOBUF),
        # A string in field 4 that is not UTF-8.
        *itertools.product((REFLECTION, PRODUCE), [b"\x22\x02\xff\xfe"]),
    ],
)
async def test_not_protobuf(
    connection: RawConnection, lines: list[EventDict], caplog: pytest.LogCaptureFixture, path: str, message: bytes
) -> None:
    """Bytes that are not the method's message are INVALID_ARGUMENT without a library's text; no stack is logged."""
    answer = await connection.call(path, message)

    assert answer.last(b"grpc-status") == INVALID_ARGUMENT
    assert b"Error" not in (answer.last(b"grpc-message") or b"")
    assert b"class" not in (answer.last(b"grpc-message") or b"")
    assert caplog.records == []
    assert not [line for line in lines if line["log_level"] in ("warning", "error")]


async def test_methods_that_do_not_exist(connection: RawConnection, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown method is UNIMPLEMENTED without a log line, also if a library's base class defines it."""
    for path in (LIST, "/ugc.v1.IngestService/Nothing", "/x/y", "/", "\x01", "/" + "y" * 5_000):
        assert (await connection.call(path, b"")).last(b"grpc-status") == UNIMPLEMENTED

    assert caplog.records == []


@pytest.mark.parametrize(("path", "message"), [(PRODUCE, EVENT), (BATCH_PRODUCE, BATCH)])
async def test_unexpected_error(lines: list[EventDict], path: str, message: bytes) -> None:
    """An unexpected error is INTERNAL without details, with the request id of its log line; repeats are one line."""
    async with connected(FailingPublisher()) as connection:
        for _call in range(3):
            answer = await connection.call(path, message, [(b"x-request-id", b"a-1")])

            assert answer.last(b"grpc-status") == INTERNAL
            assert answer.last(b"grpc-message") == b"an unexpected error inside the server"
            assert answer.last(b"x-request-id") == b"a-1"

    assert above_debug(lines)[0] == "a call failed unexpectedly"
    assert above_debug(lines).count("a call failed unexpectedly") == 1
    assert isinstance(lines[0]["exc_info"], ZeroDivisionError)


async def test_health_and_reflection(connection: RawConnection) -> None:
    """Health and reflection work behind the error interceptor."""
    check = await connection.call(CHECK, b"")
    listed = await connection.call(REFLECTION, b"\x3a\x00")

    assert (check.last(b"grpc-status"), check.data[5:]) in [(OK, b"\x08\x01"), (OK, b"\x08\x02")]
    assert listed.last(b"grpc-status") == OK
    for name in (b"ugc.v1.IngestService", b"grpc.health.v1.Health", b"grpc.reflection.v1alpha.ServerReflection"):
        assert name in listed.data
