"""The administration commands use the settings of the system that runs, and only while it runs."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.running_system import AlreadyRunningError, published, running_settings, use_running_system

SETTINGS = {
    "UGC_KAFKA_TOPIC": "ugc.events",
    "UGC_CLICKHOUSE_URL": 'clickhouse://u:it\'s $HOME "#1" \\ пароль\n@h:1/d',
    "UGC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9192",
}
# Publishes settings, and runs until it is killed.
RUNNING = """
import pathlib, sys, time
from common.running_system import published
with published(pathlib.Path(sys.argv[1]), {"UGC_KAFKA_TOPIC": "killed"}):
    print("running", flush=True)
    time.sleep(600)
"""


def test_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has no locks, as some network ones, no system runs."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    (tmp_path / "running.env").write_text("UGC_KAFKA_TOPIC=left\n")
    monkeypatch.setattr(fcntl, "flock", flock)

    assert running_settings(tmp_path) == {}


def test_while_it_runs(tmp_path: Path) -> None:
    """Every value comes through as it is while the system runs; before and after there is none."""
    directory = tmp_path / "local"
    before = running_settings(directory)
    with published(directory, SETTINGS):
        found = running_settings(directory)
        assert (directory / "running.env").stat().st_mode & 0o077 == 0

    assert (before, found, running_settings(directory)) == ({}, SETTINGS, {})


def test_killed_system(tmp_path: Path) -> None:
    """What a killed system has left is not used, and does not keep another one from starting."""
    process = subprocess.Popen([sys.executable, "-c", RUNNING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        assert running_settings(tmp_path) == {"UGC_KAFKA_TOPIC": "killed"}
        process.send_signal(signal.SIGKILL)

    assert "killed" in (tmp_path / "running.env").read_text()
    assert running_settings(tmp_path) == {}
    with published(tmp_path, {"UGC_KAFKA_TOPIC": "next"}):
        assert running_settings(tmp_path) == {"UGC_KAFKA_TOPIC": "next"}


def test_one_system_a_directory(tmp_path: Path) -> None:
    """A second system in the same directory is refused, and changes nothing."""
    with (
        published(tmp_path, SETTINGS),
        pytest.raises(AlreadyRunningError, match="uses"),
        published(tmp_path, {}),
    ):
        pytest.fail("the second system runs")

    with published(tmp_path, SETTINGS):
        pass


def test_what_a_command_uses(tmp_path: Path) -> None:
    """A command takes the variables that its environment lacks, or has empty, from the system of its directory."""
    environment = {"UGC_LOCAL_DIRECTORY": str(tmp_path), "UGC_KAFKA_TOPIC": "mine", "UGC_CLICKHOUSE_URL": ""}
    with published(tmp_path, SETTINGS):
        use_running_system(environment)

    assert environment == {**SETTINGS, "UGC_KAFKA_TOPIC": "mine", "UGC_LOCAL_DIRECTORY": str(tmp_path)}


@pytest.mark.parametrize("name", ["UGC_KAFKA_BOOTSTRAP_SERVERS", "UGC_CLICKHOUSE_URL"])
def test_another_server(tmp_path: Path, name: str) -> None:
    """A command whose environment names another Kafka or ClickHouse takes nothing from the running system."""
    environment = {"UGC_LOCAL_DIRECTORY": str(tmp_path), name: "production"}
    with published(tmp_path, SETTINGS):
        use_running_system(environment)

    assert environment == {"UGC_LOCAL_DIRECTORY": str(tmp_path), name: "production"}


def test_default_directory(tmp_path: Path) -> None:
    """Without a setting it is the clone's own directory, and the tests do not use that."""
    assert Path(os.environ["UGC_LOCAL_DIRECTORY"]).is_dir()
    environment = {"UGC_LOCAL_DIRECTORY": str(tmp_path)}
    use_running_system(environment)

    assert environment == {"UGC_LOCAL_DIRECTORY": str(tmp_path)}
