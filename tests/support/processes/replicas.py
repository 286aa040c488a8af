"""Replicas of ingest behind one gateway, and clients that send events through it and count what they get."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from local.processes.ports import free_port
from local.processes.program import Child, running
from local.up.example import DOCUMENTED_EVENT
from tests.support.processes.management import scrape, value
from tests.support.processes.system import Deployment, await_equal, serving

CLIENTS = 8
# Calls after which shares are compared.
SHARE_CALLS = 800
CALL_SECONDS_MAX = 120
ACCEPTED = 201


@dataclass
class Load:
    """Clients that send events through the gateway until they are stopped."""

    port: int
    acknowledged: set[str] = field(default_factory=set)
    # The statuses and messages of the responses.
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send one event after another, each once."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS_MAX)
        with contextlib.closing(connection):
            while not self.stop.is_set():
                identity = str(uuid.uuid4())
                body = json.dumps(json.loads(DOCUMENTED_EVENT) | {"event_id": identity})
                connection.request("POST", "/api/v1/produce", body)
                with connection.getresponse() as response:
                    answer = json.loads(response.read())
                if response.status == ACCEPTED:
                    self.acknowledged.add(identity)
                self.answers[response.status, answer.get("message", "")] += 1

    def errors(self) -> Counter[tuple[int, str]]:
        """Return the responses that are errors."""
        return Counter({answer: count for answer, count in self.answers.items() if answer[0] != ACCEPTED})


class Replicas:
    """Replicas of ingest behind one gateway, which a test starts, signals and stops."""

    def __init__(self, deployment: Deployment, count: int) -> None:
        self.deployment = deployment
        self.listens = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        self.managements = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        self.gateway_management = f"127.0.0.1:{free_port()}"
        self.load = Load(deployment.gateway_port)

    @contextlib.contextmanager
    def gateway(self) -> Iterator[None]:
        """Run the gateway, which has the addresses of all replicas, whether they run or not."""
        program = self.deployment.gateway()
        listens = {
            "UGC_INGEST_TARGET": ",".join(self.listens),
            "UGC_GATEWAY_MANAGEMENT_LISTEN": self.gateway_management,
        }
        with running(replace(program, environment={**program.environment, **listens})):
            yield

    @contextlib.contextmanager
    def ingest(self, number: int) -> Iterator[Child]:
        """Run a replica, which serves in the block."""
        address = self.listens[number]
        program = self.deployment.program(f"ingest-{number}", "services.ingest", lambda: serving(address))
        listens = {"UGC_INGEST_LISTEN": address, "UGC_INGEST_MANAGEMENT_LISTEN": self.managements[number]}
        with running(replace(program, environment={**program.environment, **listens})) as child:
            yield child

    @contextlib.contextmanager
    def loaded(self) -> Iterator[None]:
        """Run the clients; none of them may fail."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(self.load.run) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                self.load.stop.set()
        for client in clients:
            client.result()

    def calls(self, number: int) -> float:
        """Return how many events a replica has answered."""
        name, labels = "rpc_server_call_duration_seconds_count", {"rpc_response_status_code": "OK"}
        found = scrape(self.managements[number])
        return sum(
            count for (each, given), count in found.items() if each == name and labels.items() <= dict(given).items()
        )

    def shares(self, *numbers: int) -> list[float]:
        """Return how many events each replica answers while clients send enough of them."""
        before = [self.calls(number) for number in numbers]
        self.go_on(SHARE_CALLS)
        return [self.calls(number) - count for number, count in zip(numbers, before, strict=True)]

    def go_on(self, calls: int = 100) -> None:
        """Wait until so many more events are acknowledged."""
        until = len(self.load.acknowledged) + calls
        await_equal(lambda: len(self.load.acknowledged) >= until, wanted=True)

    def await_available(self, count: int) -> None:
        """Wait until the gateway is connected to so many replicas that serve."""
        await_equal(lambda: value(scrape(self.gateway_management), "ugc_gateway_replicas_available"), count)
