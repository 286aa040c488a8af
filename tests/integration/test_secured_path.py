"""The whole path with TLS, certificates of clients, passwords and permissions everywhere, while all of these change."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from google.protobuf import json_format

from db.clickhouse.client import ClickHouse, connected
from db.migrate import create
from db.settings import MigrateSettings
from local.processes.ports import free_port
from local.processes.program import running
from tests.support.certificates import Certificates
from tests.support.inputs.events import numbered
from tests.support.processes.loading import await_rows
from tests.support.processes.system import Deployment, await_equal, get
from tests.support.security.clickhouse import secured_clickhouse
from tests.support.security.kafka import SecuredKafka, mtls_settings_of, secured_kafka, settings_of
from tests.support.security.users import documented

TOPIC = "secured"
SECONDS_MAX = 60
# Longer than the time after which the broker lets every client authenticate again.
ROTATED_SECONDS = 6.0


class Load:
    """Sends events one after the other, each over a new connection, until the block ends; each is answered with 201."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self.answers: list[tuple[int, bytes]] = []
        self._ended = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            self.answers.append(self.send())

    def send(self) -> tuple[int, bytes]:
        event = json_format.MessageToDict(numbered(len(self.answers)), preserving_proto_field_name=True)
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=SECONDS_MAX, context=self._context)
        try:
            connection.request("POST", "/api/v1/produce", json.dumps(event), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def migrate(kafka: SecuredKafka, database: str, folder: Path, password_file: Path) -> None:
    """Create the topic and the tables, with the permissions of ugc-migrate."""
    (folder / "migrate").write_text("migrate-password")
    kafka.set_password("migrate", "migrate-password")
    kafka.allow("migrate", *documented("ugc-migrate", TOPIC))
    variables = {**settings_of(kafka, "migrate", folder / "migrate"), "UGC_KAFKA_TOPIC": TOPIC}
    variables |= {"UGC_CLICKHOUSE_URL": database, "UGC_CLICKHOUSE_PASSWORD_FILE": str(password_file)}
    given = {name.removeprefix("UGC_").lower(): value for name, value in variables.items()}
    create(MigrateSettings(**given))  # type: ignore[arg-type]  # pydantic converts the texts


def test_rotation_under_load(tmp_path: Path) -> None:
    """Events pass while the password and the certificates change: no call fails, each event is a row once."""
    certificates = Certificates(tmp_path / "certificates")
    front, gateway_client = certificates.authority.issue("front"), certificates.authority.issue("gateway-client")
    with (
        secured_kafka(tmp_path / "kafka", certificates) as (kafka, _),
        secured_clickhouse(tmp_path / "clickhouse", certificates) as clickhouse,
        connected(clickhouse.administrator) as tables,
    ):
        migrate(kafka, clickhouse.url("migrate"), tmp_path, clickhouse.password("migrate"))
        password = tmp_path / "ingest.password"
        password.write_text("first-password")
        kafka.set_password("ingest", "first-password")
        kafka.allow("ingest", *documented("ugc-ingest", TOPIC))
        # The etl authenticates by its certificate, whose common name is the user.
        etl_certificate = certificates.authority.issue("etl")
        kafka.allow("etl", *documented("ugc-etl", TOPIC))
        ports = {"ingest": free_port(), "etl": free_port()}
        shared = {"UGC_KAFKA_TOPIC": TOPIC, "UGC_ETL_GROUP": TOPIC}
        server = {"CERT_FILE": front.certificate, "KEY_FILE": front.key, "CLIENT_CA_FILE": certificates.authority.file}
        target = {"CERT_FILE": gateway_client.certificate, "KEY_FILE": gateway_client.key}
        target |= {"CA_FILE": certificates.authority.file}
        tls = {f"UGC_{each}_TLS_{name}": str(path) for each in ("INGEST", "GATEWAY") for name, path in server.items()}
        tls |= {f"UGC_INGEST_TARGET_TLS_{name}": str(path) for name, path in target.items()}
        ingest_settings = {**settings_of(kafka, "ingest", password), **shared, **tls}
        ingest_settings["UGC_INGEST_MANAGEMENT_LISTEN"] = f"127.0.0.1:{ports['ingest']}"
        etl_settings = {**mtls_settings_of(kafka, etl_certificate), **shared}
        etl_settings |= {"UGC_CLICKHOUSE_PASSWORD_FILE": str(clickhouse.password("etl"))}
        etl_settings["UGC_ETL_MANAGEMENT_LISTEN"] = f"127.0.0.1:{ports['etl']}"
        sending = Deployment(tmp_path, kafka.scram, TOPIC, "", ingest_settings)
        loading = Deployment(tmp_path, kafka.mtls, TOPIC, clickhouse.url("etl"), etl_settings)
        context = ssl.create_default_context(cafile=str(certificates.authority.file))
        context.load_cert_chain(certificates.client.certificate, certificates.client.key)
        load = Load(sending.gateway_port, context)
        with (
            running(sending.program("ingest", "services.ingest")),
            running(loading.etl()),
            running(sending.program("gateway", "gateway")),
        ):
            for port in ports.values():
                await_equal(partial(readiness, port), 200)
            await_equal(lambda: accepted(load), wanted=True)
            load.answers = [(201, b"")]
            with load.running():
                kafka.set_password("ingest", "second-password")
                password.write_text("second-password")
                front.replace_with(certificates.authority.issue("front-2"))
                gateway_client.replace_with(certificates.authority.issue("gateway-client-2"))
                time.sleep(ROTATED_SECONDS)
            assert {status for status, _ in load.answers} == {201}, [each for each in load.answers if each[0] != 201][
                :3
            ]
            await_rows(tables, len(load.answers))
        check_rows(tables, len(load.answers))
        check_logs(tmp_path, "first-password", "second-password", "password-of-etl")


def readiness(port: int) -> int:
    """Return the status of a process's readiness."""
    return get(f"http://127.0.0.1:{port}/readyz")[0]


def accepted(load: Load) -> bool:
    """Return whether an event is accepted."""
    try:
        return load.send()[0] == 201
    except OSError:
        return False


def check_rows(tables: ClickHouse, count: int) -> None:
    """Require that each accepted event is a row once, and that the load was one."""
    query = "SELECT count(), uniqExact(event_id), uniqExact(kafka_partition, kafka_offset) FROM events"
    assert tables.rows(query) == [(count, count, count)]
    assert count > 5


def check_logs(folder: Path, *secrets: str) -> None:
    """Require that no log has a secret, and that the new password was used."""
    logs = {path.name: path.read_text() for path in folder.glob("*.log")}
    assert logs.keys() >= {"ingest.log", "gateway.log", "etl.log"}
    assert [name for name, text in logs.items() if any(secret in text for secret in secrets)] == []
    assert "Kafka's password was read again" in logs["ingest.log"]
    assert "invalid credentials" not in logs["ingest.log"]
