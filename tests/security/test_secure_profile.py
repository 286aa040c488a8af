"""The compose file's profile `secure`, as processes of this machine: an event becomes a row."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from google.protobuf import json_format

from db.clickhouse.client import connected
from local.clickhouse.server import USERS, clickhouse_program
from local.kafka.files import DATA, HOST, LOG4J2, LOGGING, QUICK, SERVER_PROPERTIES, broker, java
from local.kafka.server import format_storage
from local.processes.ports import free_port
from local.processes.program import Program, running
from local.settings import ROOT
from tests.support.certificates import Pair
from tests.support.cluster.compose import kafka_properties
from tests.support.inputs.events import numbered
from tests.support.processes.clickhouse_files import with_pieces
from tests.support.processes.loading import await_rows
from tests.support.processes.system import await_equal, get
from tests.support.security.clickhouse import DATABASE, USER, documented
from tests.support.security.profile import SecureProfile, make_secrets
from tests.support.security.tls_proxy import encrypted
from tests.support.security.users import documented as documented_in_kafka

SECONDS_MAX = 120
BIN = "/opt/kafka/bin"
# The image's commands, and the classes that they start.
TOOLS = {"kafka-configs.sh": "ConfigCommand", "kafka-acls.sh": "AclCommand"}
HEALTH = "BrokerApiVersionsCommand"
# What the profile gives a process, and the module or command that it starts.
SERVERS = {
    "secure-ingest": ("services.ingest", "UGC_INGEST"),
    "secure-gateway": ("gateway", "UGC_GATEWAY"),
    "secure-etl": ("etl", "UGC_ETL"),
}


@pytest.fixture
def profile(tmp_path: Path) -> SecureProfile:
    assert make_secrets(tmp_path / "secrets").returncode == 0
    places = ("secure-kafka:9092", "secure-kafka:9093", "secure-kafka:9094", "secure-ingest:50051")
    return SecureProfile(tmp_path / "secrets", {place: f"{HOST}:{free_port()}" for place in places})


def port_of(profile: SecureProfile, place: str) -> int:
    return int(profile.addresses[place].rpartition(":")[2])


def kafka_of(profile: SecureProfile, folder: Path) -> Program:
    """Return the broker with the properties that the image derives from the profile's variables."""
    environment = profile.environment("secure-kafka")
    ports = {port: port_of(profile, f"secure-kafka:{port}") for port in (9092, 9093, 9094)}
    properties = kafka_properties(environment) | {"log.dirs": DATA, "log.cleaner.dedupe.buffer.size": "2000000"}
    for inside, outside in ports.items():
        properties["listeners"] = properties["listeners"].replace(f"://:{inside}", f"://{HOST}:{outside}")

    def prepare() -> None:
        folder.mkdir()
        lines = [f"{name}={value}\n" for name, value in properties.items()]
        (folder / SERVER_PROPERTIES).write_text("".join(lines))
        (folder / LOG4J2).write_text(LOGGING)
        format_storage(folder, int(properties["node.id"]), environment["CLUSTER_ID"])

    return Program(
        name="kafka",
        argv=broker([QUICK]),
        log=folder / "kafka.log",
        directory=folder,
        prepare=prepare,
        ready=lambda: is_healthy(profile, folder),
        ready_seconds_max=SECONDS_MAX,
    )


def tool(name: str) -> tuple[str, ...]:
    return java(f"org.apache.kafka.tools.{name}", options=[QUICK])


def is_healthy(profile: SecureProfile, folder: Path) -> bool:
    """Return what the service's health check finds."""
    address = profile.addresses["secure-kafka:9094"]
    properties = written(profile, "secure-kafka", folder, "kafka_admin.properties")
    done = subprocess.run(
        [*tool(HEALTH), "--bootstrap-server", address, "--command-config", str(properties)],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    return done.returncode == 0


def written(profile: SecureProfile, service: str, folder: Path, name: str) -> Path:
    """Write a file that a service mounts from deploy/secure, with the paths and addresses of this machine."""
    path = folder / f"{service}-{name}"
    path.write_text(profile.here(service, (ROOT / "deploy" / "secure" / name).read_text(encoding="utf-8")))
    return path


def create_kafka_users(profile: SecureProfile, folder: Path) -> None:
    """Run the profile's script, with Kafka's own tools."""
    service = "secure-kafka-users"
    administrator = written(profile, service, folder, "kafka_admin.properties")
    for command, name in TOOLS.items():
        path = folder / command
        path.write_text(f'#!/bin/sh\nexec {" ".join(repr(each) for each in tool(name))} "$@"\n')
        path.chmod(0o755)
    script = written(profile, service, folder, "kafka_users.sh")
    text = script.read_text().replace(BIN, str(folder)).replace("/etc/ugc/kafka_admin.properties", str(administrator))
    done = subprocess.run(
        ["bash", "-s"], input=text, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def clickhouse_of(profile: SecureProfile, folder: Path) -> Iterator[tuple[str, str]]:
    """Run a server with the users of the profile; yield the address for TLS, and an administrator's URL."""
    port, pieces = free_port(), ""
    for name in ("etl", "migrate"):
        digest = sha256((profile.folder(name) / "clickhouse-password").read_bytes().strip()).hexdigest()
        queries = "".join(f"<query>{grant}</query>" for grant in documented()[name])
        pieces += USER.format(name=name, password=digest, profile="default", grants=queries)
    program = with_pieces(clickhouse_program(folder, port, free_port()), {USERS: pieces})
    pair = Pair(profile.folder("clickhouse") / "tls.pem", profile.folder("clickhouse") / "tls.key")
    with running(program), encrypted(port, pair) as tls_port:
        yield f"{HOST}:{tls_port}", f"clickhouse://default@{HOST}:{port}/{DATABASE}"


def operations_of(profile: SecureProfile, service: str) -> set[str]:
    """Return what the broker allows the user of a service on the topic."""
    environment = profile.environment(service)
    client = AdminClient(
        {
            "bootstrap.servers": environment["UGC_KAFKA_BOOTSTRAP_SERVERS"],
            "security.protocol": environment["UGC_KAFKA_SECURITY_PROTOCOL"],
            "sasl.mechanism": environment["UGC_KAFKA_SASL_MECHANISM"],
            "sasl.username": environment["UGC_KAFKA_SASL_USERNAME"],
            "sasl.password": Path(environment["UGC_KAFKA_SASL_PASSWORD_FILE"]).read_text().strip(),
            "ssl.ca.location": environment["UGC_KAFKA_SSL_CA_FILE"],
        }
    )
    topics = TopicCollection(["ugc.events"])
    (described,) = client.describe_topics(topics, include_authorized_operations=True).values()
    return {operation.name for operation in described.result(SECONDS_MAX).authorized_operations}


def post(profile: SecureProfile, port: int) -> int:
    """Send an event to the gateway over TLS, as a client that trusts the authority; return the status."""
    context = ssl.create_default_context(cafile=str(profile.folder("client") / "ca.pem"))
    connection = HTTPSConnection("localhost", port, timeout=SECONDS_MAX, context=context)
    try:
        event = json_format.MessageToDict(numbered(1), preserving_proto_field_name=True)
        connection.request("POST", "/api/v1/produce", json.dumps(event), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_secure_profile(profile: SecureProfile, tmp_path: Path) -> None:
    """An event passes all processes with the profile's environments; the broker allows what is documented."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with (
        running(kafka_of(profile, tmp_path / "kafka")),
        clickhouse_of(profile, tmp_path / "clickhouse") as (address, administrator),
    ):
        profile.addresses = {**profile.addresses, "secure-clickhouse:9440": address}
        for _ in range(2):
            create_kafka_users(profile, tmp_path / "kafka")
        migrate = subprocess.run(
            [str(Path(sys.executable).with_name("ugc-migrate"))],
            env=profile.environment("secure-migrate"),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
        assert migrate.returncode == 0, migrate.stdout + migrate.stderr
        gateway, ports, programs = free_port(), dict.fromkeys(SERVERS, 0), []
        listens = {
            "UGC_INGEST_LISTEN": profile.addresses["secure-ingest:50051"],
            "UGC_GATEWAY_LISTEN": f"{HOST}:{gateway}",
        }
        for service, (module, prefix) in SERVERS.items():
            ports[service] = free_port()
            management = {f"{prefix}_MANAGEMENT_LISTEN": f"{HOST}:{ports[service]}"}
            environment = profile.environment(service) | listens | management
            argv = (sys.executable, "-m", module)
            programs.append(Program(name=service, argv=argv, log=folder / f"{service}.log", environment=environment))
        with running(programs[0]), running(programs[1]), running(programs[2]), connected(administrator) as tables:
            for port in ports.values():
                await_equal(partial(readiness, port), 200)
            assert post(profile, gateway) == 201
            await_rows(tables, 1)
            for service in ("ingest", "etl", "migrate"):
                grants = documented_in_kafka(f"ugc-{service}", "")
                wanted = {grant.operation for grant in grants if grant.resource == "topic"} | {"DESCRIBE"}
                assert operations_of(profile, f"secure-{service}") == wanted


def readiness(port: int) -> int:
    return get(f"http://{HOST}:{port}/readyz")[0]
