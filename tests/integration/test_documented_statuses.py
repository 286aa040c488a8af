"""Every status that the served OpenAPI document lists is one that the real gateway and ingest return."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from db.kafka.topics import provision
from gateway.openapi.introduction import OTHER_STATUSES
from local.processes.ports import free_port
from local.processes.program import running
from local.up.example import DOCUMENTED_EVENT
from tests.conftest import LAYOUT
from tests.support.inputs.tokens import SECRET, USER, signed
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, await_equal, get, post

PRODUCE, BATCH, RANDOM = "/api/v1/produce", "/api/v1/batch_produce", "/api/v1/random_batch_produce"
EVENT = json.loads(DOCUMENTED_EVENT)
EVENT["payload"]["user_id"] = USER
ONE = json.dumps(EVENT).encode()
BODIES = {PRODUCE: ONE, BATCH: b"[" + ONE + b"]", RANDOM: b""}
BODY_BYTES_MAX = 100_000
TOPIC = "documented-statuses"
NO_DATABASE = "clickhouse://default@127.0.0.1:9/none"
# More than the one that is in progress.
CONCURRENT = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[str]:
    """Run ingest and gateway with a token that binds its user, the debug service, and small limits; yield the URL."""
    settings = {
        "UGC_INGEST_AUTH_SECRET": SECRET,
        "UGC_INGEST_AUTH_SUBJECT_IS_USER": "true",
        "UGC_INGEST_DEBUG": "true",
        "UGC_GATEWAY_BODY_BYTES_MAX": str(BODY_BYTES_MAX),
        "UGC_GATEWAY_BODY_SECONDS_MAX": "1",
        "UGC_GATEWAY_BODY_GRACE_SECONDS": "1",
    }
    assert provision(kafka, TOPIC, LAYOUT)
    deployment = Deployment(tmp_path_factory.mktemp("whole"), kafka, TOPIC, NO_DATABASE, settings)
    with running(deployment.ingest()), running(deployment.gateway()):
        yield deployment.gateway_url


@pytest.fixture(scope="module")
def without_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Run pairs of ingest and gateway whose Kafka is away; yield their URL by the setting of the debug service."""
    urls: dict[str, str] = {}

    def pair(debug: str) -> Deployment:
        settings = {
            "UGC_INGEST_DEBUG": debug,
            "UGC_INGEST_REQUESTS_MAX": "1",
            "UGC_INGEST_DELIVERY_SECONDS_MAX": "2",
            # Once Kafka is known to be unreachable, requests fail at once, and no two are in flight together.
            "UGC_INGEST_HEALTH_SECONDS": "60",
        }
        folder = tmp_path_factory.mktemp("without")
        return Deployment(folder, f"127.0.0.1:{free_port()}", "none", NO_DATABASE, settings)

    on, off = pair("true"), pair("false")
    with (
        running(on.program("ingest", "services.ingest")),
        running(off.program("ingest", "services.ingest")),
        running(on.program("gateway", "gateway", lambda: get(f"{on.gateway_url}/healthz")[0] == 200)),
        running(off.program("gateway", "gateway", lambda: get(f"{off.gateway_url}/healthz")[0] == 200)),
    ):
        urls |= {"true": on.gateway_url, "false": off.gateway_url}
        yield lambda debug: urls[debug]


def token(user: str = USER) -> dict[str, str]:
    return {"Authorization": f"Bearer {signed(SECRET, 'HS256', sub=user)}"}


def raw(url: str, head: str, body: bytes = b"") -> int:
    """Send bytes as they are; return the status of the response."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    with socket.create_connection((address.hostname, address.port), timeout=CALL_SECONDS_MAX) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + body)
        line = connection.makefile("rb").readline()
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", line)
    assert match is not None, line
    return int(match[1])


def head(path: str, *headers: str, method: str = "POST", version: str = "HTTP/1.1") -> str:
    return "\n".join([f"{method} {path} {version}", "Host: localhost", *headers, "", ""])


def of_every_operation(url: str, path: str) -> dict[int, Callable[[], int]]:
    """Return requests by the status that each operation answers them with."""
    body = BODIES[path]
    return {
        201: lambda: post(url + path, body, token())[0],
        400: lambda: post(f"{url}{path}?batch_count=x", b"{", token())[0],
        401: lambda: post(url + path, body)[0],
        408: lambda: raw(url, head(path, "Content-Length: 100")),
        413: lambda: raw(url, head(path, f"Content-Length: {BODY_BYTES_MAX + 1}")),
        415: lambda: post(url + path, body, {"Content-Encoding": "br"})[0],
        # A microsecond.
        504: lambda: post(url + path, body, token() | {"Grpc-Timeout": "1u"})[0],
        431: lambda: raw(url, head(path, f"Cookie: {'c' * 33_000}", "Content-Length: 0")),
    }


def without_room(url: str, body: bytes) -> bool:
    """Whether concurrent requests get 429 and 503, while Kafka is away and one request at a time is admitted."""
    with ThreadPoolExecutor(CONCURRENT) as pool:
        answers = [pool.submit(post, url, body) for _ in range(CONCURRENT)]
        return {answer.result()[0] for answer in answers} == {429, 503}


def test_operations(whole: str, without_kafka: Callable[[str], str]) -> None:
    """Each operation returns each status that it lists, and lists no other than these."""
    bad = json.loads(ONE) | {"payload": {}}
    seen: dict[str, set[int]] = {path: set() for path in BODIES}
    for path, statuses in seen.items():
        for wanted, request in of_every_operation(whole, path).items():
            assert request() == wanted, path
            statuses.add(wanted)
        url, body = without_kafka("true") + path, BODIES[path]
        await_equal(partial(without_room, url, body), wanted=True)
        statuses |= {429, 503}
    stranger = token("7d3a0c52-91de-4c1a-8f0b-2c4b5d6e7f80")
    for path in (PRODUCE, BATCH):
        assert post(whole + path, BODIES[path], stranger)[0] == 403
        seen[path].add(403)
    assert post(whole + BATCH, json.dumps([EVENT, bad]).encode(), token())[0] == 207
    seen[BATCH].add(207)
    assert post(without_kafka("false") + RANDOM, b"")[0] == 404
    seen[RANDOM].add(404)

    document = json.loads(get(f"{whole}/api/openapi.json")[1])
    listed: dict[str, Any] = {path: item["post"]["responses"] for path, item in document["paths"].items()}
    assert {path: sorted(set(found) - {"default"}) for path, found in listed.items()} == {
        path: sorted(map(str, statuses)) for path, statuses in seen.items()
    }


def test_introduction(whole: str) -> None:
    """The introduction lists statuses that belong to no operation; each is returned."""
    requests = {
        404: head("/absent", method="GET"),
        405: head(PRODUCE, method="GET"),
        414: head(f"/{'a' * 40_000}", method="GET"),
        417: head(PRODUCE, "Expect: an-answer", "Content-Length: 0"),
        505: head("/", method="GET", version="HTTP/3.0"),
    }
    text = json.loads(get(f"{whole}/api/openapi.json")[1])["info"]["description"]

    assert {raw(whole, request) for request in requests.values()} == requests.keys()
    assert set(map(int, re.findall(r"^\| (\d{3}) \|", text, re.MULTILINE))) == requests.keys() == OTHER_STATUSES.keys()


def test_debug_service(without_kafka: Callable[[str], str]) -> None:
    """The document has the debug service where ingest runs with it, and not where it does not."""

    def is_documented(debug: str) -> bool:
        return RANDOM in json.loads(get(f"{without_kafka(debug)}/api/openapi.json")[1])["paths"]

    await_equal(lambda: is_documented("true"), wanted=True)
    assert not is_documented("false")
