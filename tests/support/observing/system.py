"""The whole system under a small load of every kind of event, watched by a real Prometheus; a test breaks its parts."""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import grpc
from confluent_kafka import Producer
from ugc.v1.event_pb2 import Event, EventBatch

from db.clickhouse.client import connected
from db.clickhouse.schema import migrate
from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.clickhouse.server import USERS, clickhouse_program
from local.kafka.files import QUICK
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Program, running
from local.settings import ROOT
from local.up.example import DOCUMENTED_EVENT
from tests.support.inputs.events import numbered, valid
from tests.support.observing.files import RULES_FILE
from tests.support.observing.prometheus import Prometheus, shortened, started_prometheus
from tests.support.processes.server_stack import Server
from tests.support.processes.system import Deployment, await_equal, ingest_stub, post, serving

TOPIC, DATABASE = "observed", "ugc"
PASSWORD = "ugc"  # noqa: S105 -- of a server that the test starts
LAYOUT = TopicLayout(partitions=3, replication_factor=1, min_insync_replicas=1, retention_hours=1)
PROCESSES = ("ingest", "gateway", "etl")
PAUSE_SECONDS = 0.1
CALL_SECONDS_MAX = 30.0
# ClickHouse does not take events of this kind, of which there are few: each one costs the etl a search.
REFUSED = "bad"
BATCHES_FOR_ONE_REFUSED = 50
FLUSH_SECONDS_MAX = 30
SETTINGS = {
    # So long that what waits for a frozen Kafka is in several scrapes, and in the statistics of Kafka's client.
    "UGC_INGEST_DELIVERY_SECONDS_MAX": "8",
    "UGC_ETL_FENCE_SECONDS": "1",
    "UGC_ETL_LATENESS_SECONDS_MAX": "1",
}


@dataclass
class Observed:
    """The running system; `parts` are its processes and stores, which a test kills or freezes and starts again."""

    deployment: Deployment
    management: dict[str, str]
    clickhouse_http: int
    prometheus: Prometheus
    parts: dict[str, Server]

    def end(self) -> None:
        """Stop every part."""
        for part in reversed(self.parts.values()):
            part.end()

    def programs(self) -> dict[str, Program]:
        """Return the three processes as they are started."""
        return {"ingest": self.deployment.ingest(), "gateway": self.deployment.gateway(), "etl": self.deployment.etl()}

    def start_etl(self, failpoint: str = "") -> Server:
        """Start an etl in place of one that has ended, perhaps one that dies at a failpoint."""
        program = self.programs()["etl"]
        if failpoint:
            program = replace(program, environment={**program.environment, "UGC_FAILPOINT": failpoint})
        self.parts["etl"] = Server(program)
        return self.parts["etl"]

    def heal(self) -> None:
        """Start or thaw what a test has broken, and wait until events are accepted and rows again."""
        for part in self.parts.values():
            part.heal()
        await_equal(lambda: serving(self.deployment.ingest_address), wanted=True)
        await_equal(lambda: post(f"{self.deployment.gateway_url}/api/v1/produce", DOCUMENTED_EVENT.encode())[0], 201)

    def write_garbage(self) -> None:
        """Write a message that is not an event to the topic."""
        producer = Producer({"bootstrap.servers": self.deployment.kafka})
        producer.produce(self.deployment.topic, b"garbage")
        assert producer.flush(FLUSH_SECONDS_MAX) == 0


@contextlib.contextmanager
def observed(folder: Path) -> Iterator[Observed]:
    """Run everything."""
    kafka_port, native_port, http_port = free_port(), free_port(), free_port()
    management = {process: f"127.0.0.1:{free_port()}" for process in PROCESSES}
    settings = SETTINGS | {f"UGC_{name.upper()}_MANAGEMENT_LISTEN": address for name, address in management.items()}
    url = f"clickhouse://default@127.0.0.1:{native_port}/{DATABASE}"
    deployment = Deployment(folder, f"127.0.0.1:{kafka_port}", TOPIC, url, settings)
    kafka = kafka_program(
        folder / "kafka", kafka_port, free_port(), group_session_milliseconds=4_000, java_options=[QUICK]
    )
    with contextlib.ExitStack() as cleanup:
        clickhouse = Server(with_grafana_user(clickhouse_program(folder / "clickhouse", native_port, http_port)))
        cleanup.callback(clickhouse.end)
        clickhouse.await_ready()
        assert migrate(url)
        with connected(url) as tables:
            tables.rows(f"ALTER TABLE events ADD CONSTRAINT observed CHECK event != '{REFUSED}'")
        watching, prometheus = watcher(folder, management)
        stores = {"clickhouse": clickhouse, "kafka": Server(kafka)}
        system = Observed(deployment, management, http_port, prometheus, stores)
        cleanup.callback(system.end)
        system.parts["kafka"].await_ready()
        assert provision(deployment.kafka, TOPIC, LAYOUT)
        for name, program in system.programs().items():
            system.parts[name] = Server(program)
            system.parts[name].await_ready()
        cleanup.enter_context(running(watching))
        cleanup.enter_context(load(deployment))
        yield system


def watcher(folder: Path, management: dict[str, str]) -> tuple[Program, Prometheus]:
    """Return a Prometheus with the committed rules and their short form."""
    short = folder / "short.yml"
    short.write_text(shortened(RULES_FILE.read_text(encoding="utf-8")))
    targets = {f"ugc-{process}": address for process, address in management.items()}
    return started_prometheus(folder / "prometheus", targets, [RULES_FILE, short])


def with_grafana_user(program: Program) -> Program:
    """Return a ClickHouse server that has the user of Grafana, as docker-compose has it, from this machine."""

    def prepare() -> None:
        program.prepare()
        assert program.directory is not None
        path = program.directory / USERS
        tree, wanted = ET.parse(path), ET.parse(ROOT / "db" / "cluster" / "users.xml")  # noqa: S314 -- of the repository
        for section in ("users", "profiles"):
            element, parent = wanted.find(f"{section}/grafana"), tree.find(section)
            assert element is not None
            assert parent is not None
            parent.append(element)
        networks = tree.find("users/grafana/networks")
        assert networks is not None
        ET.SubElement(networks, "ip").text = "127.0.0.1"
        tree.write(path, encoding="unicode")

    environment = {**program.environment, "CLICKHOUSE_PASSWORD": PASSWORD}
    return replace(program, prepare=prepare, environment=environment)


@contextlib.contextmanager
def load(deployment: Deployment) -> Iterator[None]:
    """Send events of every kind until the block ends, whatever becomes of them."""
    stop = threading.Event()
    threads = [threading.Thread(target=each, args=(deployment, stop)) for each in (send_batches, send_requests)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def send_batches(deployment: Deployment, stop: threading.Event) -> None:
    """Send batches by gRPC: good events, a repeated one, an invalid one, and at times one that ClickHouse refuses."""
    repeated = numbered(0)
    with ingest_stub(deployment.ingest_address) as stub:
        for number in itertools.count(1):
            good = [numbered(10 * number + each) for each in range(7)]
            events = [*good, repeated, valid(movie_id="not a UUID")]
            if number % BATCHES_FOR_ONE_REFUSED == 1:
                events.append(identified(valid(event=REFUSED)))
            # A call that fails is what a test makes on purpose; the service counts it.
            with contextlib.suppress(grpc.RpcError):
                stub.BatchProduce(EventBatch(events=events), timeout=CALL_SECONDS_MAX)
            if stop.wait(PAUSE_SECONDS):
                return


def send_requests(deployment: Deployment, stop: threading.Event) -> None:
    """Send requests by REST: the documented event, one with an unknown field, and one that is invalid."""
    unknown = DOCUMENTED_EVENT.replace('"language"', '"colour": "red", "language"')
    bodies = [body.encode() for body in (DOCUMENTED_EVENT, unknown, "{}")]
    for body in itertools.cycle(bodies):
        post(f"{deployment.gateway_url}/api/v1/produce", body)
        if stop.wait(PAUSE_SECONDS):
            return


def identified(event: Event) -> Event:
    """Return an event with an identity of its own."""
    event.event_id = str(uuid.uuid4())
    return event
