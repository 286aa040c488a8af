"""Users of a secured broker with the documented permissions, and processes that are such users."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.kafka_settings import KafkaSettings
from local.processes.program import Child
from local.settings import ROOT
from tests.support.processes.system import await_equal, get
from tests.support.security.kafka import Grant, SecuredKafka, settings_of

PAGE = ROOT / "docs" / "operating" / "permissions.md"
ROW = re.compile(r"^\| `(ugc-[\w-]+)` \| (topic|group) \| ([A-Z_]+) \|", re.MULTILINE)


def documented(process: str, topic: str) -> list[Grant]:
    """Return the permissions of a process that the page lists; the etl's group has the name of the topic."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [Grant(operation, kind, topic) for name, kind, operation in found if name == process]


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
        """Return the warnings with a text, without the reminders of an outage that lasts."""
        lines = self._child.program.log.read_text().splitlines()
        return [line for line in lines if text in line and is_first(json.loads(line))]


def is_first(line: Mapping[str, object]) -> bool:
    """Return whether a line is a warning, and not the reminder of one."""
    return line["level"] == "warning" and "still fails" not in str(line["event"])
