"""The permissions in Kafka that docs/operating/permissions.md lists: all are needed, and no others."""

from __future__ import annotations

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
from db.kafka.partitions import create_partitions, partition_count, record_change
from db.kafka.topics import OffsetReader, provision, topic_identity
from local.processes.ports import free_port
from local.processes.program import running
from tests.conftest import LAYOUT
from tests.support.certificates import Certificates
from tests.support.inputs.events import numbered
from tests.support.processes.loading import await_rows
from tests.support.processes.system import Deployment, await_equal, ingest_stub
from tests.support.security.kafka import SecuredKafka, secured_kafka
from tests.support.security.users import Observed, User

NO_SASL = dict.fromkeys(("UGC_KAFKA_SASL_MECHANISM", "UGC_KAFKA_SASL_USERNAME", "UGC_KAFKA_SASL_PASSWORD_FILE"), "")
NO_SASL["UGC_KAFKA_SECURITY_PROTOCOL"] = "SSL"
OTHER_CLIENT = {"UGC_KAFKA_SSL_CERT_FILE": "other.pem", "UGC_KAFKA_SSL_KEY_FILE": "other.key"}
DENIED = "Kafka denies {0.operation} on {0.resource} {0.name}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    folder = tmp_path_factory.mktemp("secured")
    with secured_kafka(folder / "kafka", Certificates(folder / "certificates")) as (kafka, _):
        yield kafka


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

    def add_partitions(settings: KafkaSettings) -> None:
        replay(settings)
        create_partitions(settings, settings.kafka_topic, count := partition_count(settings, settings.kafka_topic) + 1)
        record_change(settings, settings.kafka_topic, "", count)

    commands = {"ugc-migrate": migrate, "ugc-audit": audit, "ugc-replay": replay, "ugc-rewind": rewind}
    commands["ugc-add-partitions"] = add_partitions
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
            await_equal(lambda: answer(1), grpc.StatusCode.OK)
            one.forbid(write)
            # A denied event lets ingest ask what it may do.
            await_equal(lambda: answer(2) != grpc.StatusCode.OK, wanted=True)
            ingest.await_problem(DENIED.format(write))
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


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"UGC_KAFKA_SASL_PASSWORD_FILE": "wrong"}, "invalid credentials with SASL mechanism SCRAM-SHA-512"),
        ({"UGC_KAFKA_SSL_CA_FILE": "other"}, "certificate verify failed"),
        ({"UGC_KAFKA_BOOTSTRAP_SERVERS": "mtls", **NO_SASL}, "UGC_KAFKA_SSL_CERT_FILE"),
        ({"UGC_KAFKA_BOOTSTRAP_SERVERS": "mtls", **NO_SASL, **OTHER_CLIENT}, "alert bad certificate"),
        (
            {**NO_SASL, "UGC_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "UGC_KAFKA_SSL_CA_FILE": ""},
            "the brokers close the connections: check UGC_KAFKA_SECURITY_PROTOCOL, which is PLAINTEXT",
        ),
    ],
)
def test_refused_connections(
    changes: dict[str, str], cause: str, user: Callable[[str], User], tmp_path: Path, secured: SecuredKafka
) -> None:
    """A process that Kafka refuses waits, and names the cause on its readiness and once in its log."""
    one, port = user("ugc-ingest"), free_port()
    one.allow(*one.grants)
    (tmp_path / "wrong").write_text("wrong-password")
    other = secured.certificates.client_of_other
    values = {"wrong": str(tmp_path / "wrong"), "other": str(secured.certificates.other_authority.file)}
    values |= {"mtls": secured.mtls, "other.pem": str(other.certificate), "other.key": str(other.key)}
    variables = {**one.variables, **{name: values.get(value, value) for name, value in changes.items()}}
    variables = {name: value for name, value in variables.items() if value}
    management = {"UGC_INGEST_MANAGEMENT_LISTEN": f"127.0.0.1:{port}"}
    deployment = Deployment(tmp_path, variables["UGC_KAFKA_BOOTSTRAP_SERVERS"], one.topic, "", variables | management)
    with running(deployment.program("ingest", "services.ingest")) as child:
        ingest = Observed(child, port)
        ingest.await_problem(cause)

        assert len(ingest.lines(cause)) == 1
        if "UGC_KAFKA_SASL_PASSWORD_FILE" in changes and "wrong" in changes.values():
            (tmp_path / "wrong").write_text(one.password.read_text())
            ingest.await_ready()
        assert "wrong-password" not in child.program.log.read_text()
