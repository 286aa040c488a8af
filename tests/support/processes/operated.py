"""The system as an operator has it: servers and processes under their documented names, and a shell for commands."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.clickhouse.server import CONFIGURATION, clickhouse_program
from local.kafka.files import LIBRARIES, QUICK, archive
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import Child, running
from local.settings import ROOT
from tests.support.processes.clickhouse_files import with_pieces
from tests.support.processes.system import Deployment

TOPIC, GROUP, DATABASE = "ugc.events", "ugc-etl", "ugc"
LAYOUT = TopicLayout(partitions=6, replication_factor=1, min_insync_replicas=1, retention_hours=168)
# The documented ports of the management listeners.
MANAGEMENT = {
    "9464": "UGC_INGEST_MANAGEMENT_LISTEN",
    "9465": "UGC_GATEWAY_MANAGEMENT_LISTEN",
    "9466": "UGC_ETL_MANAGEMENT_LISTEN",
}
# What a new shell of a user has; nothing of the test's own environment.
PATH = "/usr/local/bin:/usr/bin:/bin"
COMMAND_SECONDS_MAX = 120
BACKUPS, TOOLS = "/var/lib/clickhouse/backups", "/opt/kafka/bin"
# The class behind each script of Kafka's distribution.
TOOL_CLASSES = {
    "kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-configs.sh": "org.apache.kafka.tools.ConfigCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-log-dirs.sh": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
}


@dataclass
class Operated:
    """The running system; `etl` is started and stopped by tests, everything else runs throughout."""

    folder: Path
    deployment: Deployment
    ports: dict[str, int]
    etl: list[Child] = field(default_factory=list)

    def start_etl(self) -> None:
        """Start an etl."""
        self.etl.append(Child(self.deployment.etl()))

    def stop_etl(self) -> None:
        """End every etl as systemd does."""
        while self.etl:
            self.etl.pop().stop()

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    def shell(self, commands: str, *, is_checked: bool = True) -> str:
        """Run commands as a new shell in the clone does, the documented ports and folders replaced; return the output.

        Every command must succeed unless `is_checked` is false.
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.placed(commands)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.clone,
            env={
                "PATH": PATH,
                "HOME": str(self.folder),
                # In place of the default ports.
                "UGC_KAFKA_BOOTSTRAP_SERVERS": self.deployment.kafka,
                "UGC_CLICKHOUSE_URL": self.deployment.database,
            },
            timeout=COMMAND_SECONDS_MAX,
        )
        assert not is_checked or done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def placed(self, text: str) -> str:
        """Return a text with this system's ports and folders in place of the documented ones."""
        for documented, port in self.ports.items():
            text = text.replace(f"localhost:{documented}", f"127.0.0.1:{port}")
        return text.replace(BACKUPS, str(self.folder / "backups")).replace(TOOLS, str(self.folder / "tools"))


@contextlib.contextmanager
def operated(folder: Path, clickhouse_configuration: str = "") -> Iterator[Operated]:
    """Start Kafka, ClickHouse with a piece of documented configuration, ingest and gateway; no etl yet."""
    ports = {name: free_port() for name in ("9092", "9000", "8123", *MANAGEMENT)}
    deployment = Deployment(
        folder,
        f"127.0.0.1:{ports['9092']}",
        TOPIC,
        f"clickhouse://default@127.0.0.1:{ports['9000']}/{DATABASE}",
        {
            "UGC_ETL_GROUP": GROUP,
            "UGC_INGEST_DEBUG": "true",
            "UGC_ETL_FENCE_SECONDS": "1",
            **{setting: f"127.0.0.1:{ports[documented]}" for documented, setting in MANAGEMENT.items()},
        },
    )
    ports |= {"50051": deployment.ingest_port, "8000": deployment.gateway_port}
    system = Operated(folder, deployment, ports)
    make_clone(system)
    make_tools(folder / "tools")
    (folder / "backups").mkdir()
    clickhouse = clickhouse_program(folder / "clickhouse", ports["9000"], ports["8123"])
    piece = system.placed(clickhouse_configuration).replace("<clickhouse>", "").replace("</clickhouse>", "")
    with (
        running(with_pieces(clickhouse, {CONFIGURATION: piece})),
        running(
            kafka_program(
                folder / "kafka", ports["9092"], free_port(), group_session_milliseconds=4_000, java_options=[QUICK]
            )
        ),
    ):
        system.shell(".venv/bin/ugc-migrate")
        assert not provision(deployment.kafka, TOPIC, LAYOUT)
        with running(deployment.ingest()), running(deployment.gateway()):
            try:
                yield system
            finally:
                system.stop_etl()


def make_clone(system: Operated) -> None:
    """Make a folder that has what a clone has after the set-up, but data of its own."""
    (system.clone / ".local" / "kafka").mkdir(parents=True)
    (system.clone / ".local" / "kafka" / "libs").symlink_to(LIBRARIES)
    for entry in ROOT.iterdir():
        if entry.name not in {".local", ".git"}:
            (system.clone / entry.name).symlink_to(entry)


def make_tools(folder: Path) -> None:
    """Write the scripts of Kafka's distribution."""
    assert any(LIBRARIES.glob("kafka-tools-*.jar")), "Kafka's tools are not there: run `python3 -m local.setup test`"
    folder.mkdir()
    options = " ".join(map(shlex.quote, [QUICK, "-XX:+UseSerialGC", *archive()]))
    for name, tool in TOOL_CLASSES.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\nexec java {options} -cp '{LIBRARIES}/*' {tool} \"$@\"\n")
        script.chmod(0o700)
