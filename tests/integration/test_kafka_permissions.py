"""The permissions in Kafka that docs/operating/permissions.md lists: all are needed, and no others."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from common.kafka_settings import KafkaSettings
from db.clickhouse.client import ClickHouse
from db.errors import DeniedError
from db.kafka.groups import members, set_offsets
from db.kafka.topics import OffsetReader, provision, topic_identity
from local.processes.ports import free_port
from local.processes.program import Child, running
from local.settings import ROOT
from tests.conftest import LAYOUT
from tests.support.certificates import Certificates
from tests.support.inputs.events import numbered
from tests.support.processes.loading import await_rows
from tests.support.processes.system import Deployment, await_equal, get, ingest_stub
from tests.support.security.kafka import Grant, SecuredKafka, secured_kafka, settings_of

PAGE = ROOT / "docs" / "operating" / "permissions.md"
ROW = re.compile(r"^\| `(ugc-\w+)` \| (topic|group) \| ([A-Z_]+) \|", re.MULTILINE)
DENIED = "Kafka denies {0.operation} on {0.resource} {0.name}"


def documented(process: str, topic: str) -> list[Grant]:
    """Return the permissions of a process that the page lists; the etl's group has the name of the topic."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [Grant(operation, kind, topic) for name, kind, operation in found if name == process]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    folder = tmp_path_factory.mktemp("secured")
    with secured_kafka(folder / "kafka", Certificates(folder / "certificates")) as (kafka, _):
        yield kafka


class User:
    """A user of the broker with its password, and the settings of a process that is this user."""

    def __init__(self, kafka: SecuredKafka, folder: Path, topic: str, process: str) -> None:
        self.name = f"{process}-{uuid.uuid4().hex[:8]}"
        self.kafka = kafka
        self.topic = topic
        self.grants = documented(process, topic)
        self.password = folder / f"{self.name}.password"
        self.password.write_text(f"{uuid.uuid4().hex}\n")
        kafka.set_password(self.name, self.password.read_text().strip())

    @property
    def variables(self) -> dict[str, str]:
        return {
            **settings_of(self.kafka, self.name, self.password),
            "UGC_KAFKA_TOPIC": self.topic,
            "UGC_ETL_GROUP": self.topic,
        }

    def settings(self, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
        with monkeypatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(name, value)
            return KafkaSettings()

    def allow(self, *grants: Grant) -> None:
        if grants:
            self.kafka.allow(self.name, *grants)

    def forbid(self, *grants: Grant) -> None:
        self.kafka.forbid(self.name, *grants)


@pytest.fixture
def user(secured: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], User]:
    """Create a topic as ugc-migrate does, which may do no more than that; the value makes users of it."""
    topic = f"permitted-{uuid.uuid4().hex[:8]}"
    migrate = User(secured, tmp_path, topic, "ugc-migrate")
    migrate.allow(*migrate.grants)
    await_done(lambda: provision(migrate.settings(monkeypatch), topic, LAYOUT))
    return partial(User, secured, tmp_path, topic)


def test_commands(user: Callable[[str], User], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command works with its permissions, and names each one that it lacks."""

    def migrate(settings: KafkaSettings) -> None:
        provision(settings, settings.kafka_topic, LAYOUT)

    def audit(settings: KafkaSettings) -> None:
        topic_identity(settings, settings.kafka_topic, needs="READ")
        reader = OffsetReader(settings, settings.kafka_topic, settings.kafka_topic)
        reader.read()
        reader.close()

    def replay(settings: KafkaSettings) -> None:
        topic_identity(settings, settings.kafka_topic, needs="WRITE")

    def rewind(settings: KafkaSettings) -> None:
        members(settings, settings.kafka_topic)
        topic_identity(settings, settings.kafka_topic, needs="READ")
        set_offsets(settings, settings.kafka_topic, settings.kafka_topic, {0: 0})

    commands = {"ugc-migrate": migrate, "ugc-audit": audit, "ugc-replay": replay, "ugc-rewind": rewind}
    for process, act in commands.items():
        one = user(process)
        settings = one.settings(monkeypatch)
        assert one.grants, process
        for missing in one.grants:
            one.allow(*(each for each in one.grants if each != missing))
            await_denied(partial(act, settings), DENIED.format(missing))
            if len(one.grants) > 1:
                one.forbid(*(each for each in one.grants if each != missing))
        one.allow(*one.grants)
        await_done(partial(act, settings))


def await_denied(act: Callable[[], None], text: str) -> None:
    """Act until the broker denies it for the expected reason: changes of access control reach it a moment later."""

    def reason() -> str:
        try:
            act()
        except DeniedError as error:
            return str(error)
        return ""

    await_equal(lambda: text in reason(), wanted=True)


def await_done(act: Callable[[], object]) -> None:
    """Act until nothing is denied."""

    def is_done() -> bool:
        try:
            act()
        except DeniedError:
            return False
        return True

    await_equal(is_done, wanted=True)


class Observed:
    """A process with its readiness and its log."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self._port = port

    def readiness(self) -> str:
        assert self._child.process.poll() is None, "the process has ended"
        return get(f"http://127.0.0.1:{self._port}/readyz")[1].decode().strip()

    def await_ready(self) -> None:
        await_equal(lambda: get(f"http://127.0.0.1:{self._port}/readyz")[0], 200)

    def await_problem(self, text: str) -> None:
        await_equal(lambda: text in self.readiness(), wanted=True)

    def lines(self, text: str) -> list[str]:
        """Return the warnings with a text."""
        lines = self._child.program.log.read_text().splitlines()
        return [line for line in lines if text in line and json.loads(line)["level"] == "warning"]


def test_ingest(user: Callable[[str], User], tmp_path: Path) -> None:
    """Ingest works with its permissions; while it may not write, it waits, and neither ends nor loses an event."""
    one, port = user("ugc-ingest"), free_port()
    write, *others = one.grants
    assert write.operation == "WRITE"
    management = {"UGC_INGEST_MANAGEMENT_LISTEN": f"127.0.0.1:{port}"}
    deployment = Deployment(tmp_path, one.kafka.scram, one.topic, "", {**one.variables, **management})
    with (
        running(deployment.program("ingest", "services.ingest")) as child,
        ingest_stub(deployment.ingest_address) as stub,
    ):
        ingest = Observed(child, port)

        def answer(number: int) -> grpc.StatusCode:
            try:
                stub.Produce(numbered(number), timeout=10)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        for time_of in range(2):
            ingest.await_problem(DENIED.format(write))
            await_equal(lambda: answer(0), grpc.StatusCode.UNAVAILABLE)
            assert len(ingest.lines(DENIED.format(write))) == time_of + 1
            one.allow(write)
            ingest.await_ready()
            assert answer(1) == grpc.StatusCode.OK
            one.forbid(write)
            await_equal(lambda: answer(2), grpc.StatusCode.UNAVAILABLE)
        one.allow(write)
        ingest.await_ready()
        assert [len(ingest.lines(DENIED.format(each))) for each in others] == [1] * len(others)


def test_etl(user: Callable[[str], User], tmp_path: Path, database: str, tables: ClickHouse) -> None:
    """The etl works with its permissions; while one is missing, it waits for it, and loads each event once."""
    one, sender, port = user("ugc-etl"), user("ugc-ingest"), free_port()
    sender.allow(*sender.grants)
    assert len(one.grants) == 2
    management = {"UGC_ETL_MANAGEMENT_LISTEN": f"127.0.0.1:{port}"}
    deployment = Deployment(tmp_path, one.kafka.scram, one.topic, database, {**one.variables, **management})
    sending = Deployment(tmp_path, one.kafka.scram, one.topic, database, sender.variables)
    with (
        running(sending.ingest()),
        ingest_stub(sending.ingest_address) as stub,
        running(deployment.etl()) as child,
    ):
        etl, sent = Observed(child, port), 0

        def send() -> None:
            nonlocal sent
            stub.Produce(numbered(sent), timeout=10)
            sent += 1

        on_topic, on_group = sorted(one.grants, key=lambda each: each.resource != "topic")
        etl.await_problem(DENIED.format(on_topic))
        one.allow(on_topic)
        etl.await_problem(DENIED.format(on_group))
        assert len(etl.lines(DENIED.format(on_group))) == 1
        one.allow(on_group)
        etl.await_ready()
        send()
        await_rows(tables, sent)
        one.forbid(on_topic)
        etl.await_problem(DENIED.format(on_topic))
        send()
        one.allow(on_topic)
        etl.await_ready()
        send()
        await_rows(tables, sent)

    assert tables.rows("SELECT uniqExact(kafka_partition, kafka_offset), count() FROM events") == [(sent, sent)]
