"""The process `ugc-ingest` without Kafka: why it refuses to start, and what it writes to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import Address
from local.processes.ports import free_port
from tests.support.clients.raw_http2 import DATA, END_STREAM, PREFACE, RST_STREAM, RawConnection, raw_connection
from tests.support.inputs.tokens import described, rsa_key

PRODUCE = "/ugc.v1.IngestService/Produce"
WATCH = "/grpc.health.v1.Health/Watch"
START_SECONDS_MAX = 60
TIMES = 3


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of the process: no Kafka there, and proxies that it must not use."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    return {**os.environ, **proxies, "UGC_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", **settings}


def failed_start(**settings: str) -> subprocess.CompletedProcess[str]:
    """Start a process that must end by itself."""
    command = [sys.executable, "-m", "services.ingest"]
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False
    )


@contextlib.contextmanager
def ingest(log: Path, **others: str) -> Iterator[Address]:
    """Run a process with its log in a file; it must exit with status 0 on SIGTERM."""
    address = Address("127.0.0.1", free_port())
    settings = {"UGC_INGEST_LISTEN": str(address), "UGC_INGEST_DRAIN_SECONDS": "0", "UGC_INGEST_STOP_SECONDS_MAX": "1"}
    settings |= others
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.ingest"], env=environment(**settings), stderr=stream
        )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while b'"serving"' not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS_MAX) == 0
    finally:
        process.kill()
        process.wait()


def test_busy_port() -> None:
    """A port in use ends the process with status 1 and one line with the setting and the reason."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        ended = failed_start(UGC_INGEST_LISTEN=listen)

    (line,) = [json.loads(text) for text in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert (line["event"], line["setting"], line["level"]) == ("cannot serve", "UGC_INGEST_LISTEN", "error")
    assert line["error"] == f"{listen}: Address already in use"


@pytest.mark.parametrize("listen", ["nowhere.invalid:1", "192.0.2.1:1", "[fe80::1%nothing]:1"])
def test_no_such_address(listen: str) -> None:
    """An address that this machine does not have ends it in the same way."""
    ended = failed_start(UGC_INGEST_LISTEN=listen)

    (line,) = [json.loads(text) for text in ended.stderr.splitlines()]
    assert (ended.returncode, line["setting"]) == (1, "UGC_INGEST_LISTEN")
    assert line["error"].startswith(f"{listen}: ")


def test_skipped_keys(tmp_path: Path) -> None:
    """With unusable keys in a JWKS ingest starts and logs one line for each of them."""
    others = [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": "ed"}, described(rsa_key(), alg="RS512", kid="r")]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [*others, described(rsa_key(), kid="usable")]}))
    with ingest(tmp_path / "ingest.log", UGC_INGEST_AUTH_JWKS_FILE=str(tmp_path / "jwks.json")):
        lines = [json.loads(text) for text in (tmp_path / "ingest.log").read_text().splitlines()]

    warnings = [(line["kid"], line["reason"]) for line in lines if line["event"] == "a key of the JWKS is not used"]
    assert warnings == [("ed", "its kty is not RSA or EC"), ("r", "its alg is not RS256")]
    assert [line["authentication"] for line in lines if line["event"] == "serving"] == [True]


def test_no_usable_key(tmp_path: Path) -> None:
    """A JWKS without a usable key ends the process, with the setting and the reasons."""
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{"kty": "OKP", "kid": "ed"}]}))
    ended = failed_start(UGC_INGEST_AUTH_JWKS_FILE=str(tmp_path / "jwks.json"))

    assert ended.returncode == 2
    assert ended.stderr.startswith("bad setting UGC_INGEST_AUTH_JWKS_FILE: ")
    assert "ed: its kty is not RSA or EC" in ended.stderr


async def test_log_lines_that_clients_cause(tmp_path: Path) -> None:
    """However often clients send bad input, the log has a few short lines, all in its own format."""
    log = tmp_path / "ingest.log"
    with ingest(log) as address:
        before = len(log.read_bytes())
        for _time in range(TIMES):
            async with raw_connection(address) as connection:
                await misbehave(connection)
        for _time in range(TIMES):
            for garbage in (secrets.token_bytes(200), PREFACE + secrets.token_bytes(200), b"GET / HTTP/1.1\r\n\r\n"):
                with socket.create_connection(address) as raw:
                    raw.sendall(garbage)
        written = log.read_bytes()[before:].decode().splitlines()

    lines = [json.loads(text) for text in written]
    assert max(map(len, written)) < 1_000
    # Apart from the lines about the missing Kafka there is one line of each kind.
    events = [line["event"] for line in lines if "Kafka" not in line["event"]]
    assert sorted(events) == sorted(set(events))
    assert len(events) <= 5


async def misbehave(connection: RawConnection) -> None:
    """Send input that makes libraries log."""
    long = b"\x0a" + b"\xff" * 3_000
    for path, message in ((PRODUCE, long), (WATCH, long), ("/" + "x" * 3_000, long)):
        for headers in ([(b"a", b"\xff" * 3_000)], [(b"x-request-id", b"\xff\n")], [(b"authorization", b"x" * 9_000)]):
            assert (await connection.call(path, message, headers)).last(b"grpc-status") not in (None, b"0")
    for header in ((b"grpc-timeout", b"never"), (b"grpc-encoding", b"none"), (b"a-bin", b"\xff!"), (b"A B", b"c")):
        assert (await connection.call(PRODUCE, b"", [header])).last(b"grpc-status") == b"13"
    for _time in range(20):
        stream = connection.open(PRODUCE)
        connection.frame(DATA, END_STREAM, stream, b"\0\0\0\0\0")
        connection.frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
    await connection.writer.drain()
