"""The commands that `ugc-up` prints, pasted into a shell while it runs; those of the pages are in test_docs.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.clickhouse.client import connected
from local.settings import ROOT
from tests.support.processes.system import await_equal
from tests.support.processes.up import Up, await_words

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
# buf is in the environment, grpcurl where .ci/run builds it, or a developer's own is on the path.
PATH = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".local" / "bin"), os.environ.get("PATH", "")])
COMMAND_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run `ugc-up` on ports and data of its own."""
    running = Up(tmp_path_factory.mktemp("up"))
    with running.started():
        await_words(running, "Stop with Ctrl-C.")
        yield running


def paste(commands: str) -> str:
    """Run commands as a shell does; every one must succeed. Return what they print."""
    if "grpcurl" in commands and shutil.which("grpcurl", path=PATH) is None:
        pytest.skip("grpcurl is not on this machine: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4")
    if re.search(r"^curl ", commands, re.MULTILINE) and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    done = subprocess.run(
        ["bash", "-euc", commands],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": PATH},
        timeout=COMMAND_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("tool", ["curl", "grpcurl", "buf curl"])
def test_printed_commands(tool: str, up: Up) -> None:
    """What `ugc-up` prints sends an event: its identity is the answer, and its row is in ClickHouse."""
    (command,) = [line for line in up.said.splitlines() if f"  {tool} " in line]

    answer = paste(command[command.index(f"{tool} ") :])

    (identity,) = re.findall(r'"event_?[iI]d": ?"([^"]+)"', answer)
    with connected(up.database) as tables:
        await_equal(lambda: tables.rows("SELECT count() FROM events WHERE event_id = %(id)s", {"id": identity}), [(1,)])
