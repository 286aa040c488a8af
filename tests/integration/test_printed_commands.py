"""The commands that `ugc-up` prints, and the administration commands, run in another shell while it runs.

The shell has a fresh login's PATH, none of the test's environment, and another directory than the clone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import parse_address
from db.clickhouse.client import connected
from local.settings import ROOT
from local.up.example import DOCUMENTED_EVENT
from local.up.summary import grpc_command, written
from tests.support.processes.system import await_equal
from tests.support.processes.up import Up, await_output

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
PATH = "/usr/local/bin:/usr/bin:/bin"
FOLDER = "Мои данные, 100% 'свои' #1"
COMMAND_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run `ugc-up` below a path that a shell must quote, with a topic and a group of its own."""
    folder = tmp_path_factory.mktemp("up") / FOLDER
    folder.mkdir()
    running = Up(folder, {"PATH": PATH, "UGC_KAFKA_TOPIC": "moved.events", "UGC_ETL_GROUP": "moved"})
    with running.started():
        await_output(running, "Stop with Ctrl-C.")
        yield running


def printed(up: Up, label: str) -> str:
    """Return what is printed beside a label."""
    (text,) = re.findall(rf"^  {label} +(.+)$", up.output, re.MULTILINE)
    return str(text)


def shell(up: Up, command: str, status: int = 0) -> str:
    """Run a command in another shell; return its output."""
    done = subprocess.run(
        ["bash", "-euc", command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        # A system in the default directory needs no variable.
        env={"PATH": PATH, "HOME": str(up.folder), "LANG": "C.UTF-8", "UGC_LOCAL_DIRECTORY": str(up.folder / "local")},
        timeout=COMMAND_SECONDS_MAX,
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def assert_is_row(up: Up, answer: str) -> None:
    """Await the row of the event that an answer acknowledges."""
    (identity,) = re.findall(r'"event_?[iI]d": ?"([^"]+)"', answer)
    with connected(up.database) as tables:
        await_equal(lambda: tables.rows("SELECT count() FROM events WHERE event_id = %(id)s", {"id": identity}), [(1,)])


@pytest.mark.parametrize(("label", "tool"), [("send over HTTP", "curl"), ("send over gRPC", "buf")])
def test_sending_commands(up: Up, label: str, tool: str) -> None:
    """The commands that are printed for sending an event work in any shell; the event becomes a row."""
    if tool == "curl" and shutil.which("curl", path=PATH) is None:
        pytest.skip("curl is not on this machine")
    command = printed(up, label)
    assert tool in command

    assert_is_row(up, shell(up, command))


def test_grpcurl(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    """With grpcurl on PATH the command for gRPC uses it."""
    folder = ROOT / ".local" / "bin"
    path = os.pathsep.join([str(folder), PATH])
    if shutil.which("grpcurl", path=path) is None:
        pytest.skip("grpcurl is not on this machine: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4")
    monkeypatch.setenv("PATH", path)
    event = written(up.folder / "event.json", DOCUMENTED_EVENT)
    command = grpc_command(parse_address(up.ingest), event, "")

    assert command.startswith("grpcurl ")
    assert_is_row(up, shell(up, f"PATH={path}; {command}"))


def test_audit_follows(up: Up) -> None:
    """The printed audit, without settings, audits the servers, the topic and the group of the running `ugc-up`."""
    report = json.loads(shell(up, f"{printed(up, 'audit')} --wait 30 --json"))

    assert report["topic"] == "moved.events"
    assert sum(each["events"] for each in report["partitions"]) >= 2


@pytest.mark.parametrize("command", ["ugc-migrate", "ugc-replay --reason refused"])
def test_other_commands_follow(up: Up, command: str) -> None:
    """So do the other administration commands."""
    shell(up, f"{Path(sys.executable).parent}/{command}")


def test_variables_take_precedence(up: Up) -> None:
    """A variable of the shell takes precedence over the running system."""
    audit = printed(up, "audit")

    shell(up, f"UGC_KAFKA_TOPIC=another.topic {audit}", status=3)
