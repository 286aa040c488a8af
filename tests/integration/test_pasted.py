"""The commands that `ugc-up` prints and the README shows, pasted into a shell while `ugc-up` runs."""

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
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
# The README's addresses, and which setting chooses the port.
ADDRESSES = {
    "localhost:8000": "UGC_GATEWAY_LISTEN",
    "localhost:50051": "UGC_INGEST_LISTEN",
    "localhost:8123": "UGC_LOCAL_CLICKHOUSE_HTTP_PORT",
}
COMMAND_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run `ugc-up` on ports and data of its own, with the door that the README opens by a setting."""
    running = Up(tmp_path_factory.mktemp("up"), {"UGC_INGEST_DEBUG": "true"})
    with running.started():
        await_words(running, "Stop with Ctrl-C.")
        yield running


def readme_blocks() -> list[str]:
    """Return the README's shell commands that talk to a running system."""
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return [block for block in blocks if any(address in block for address in ADDRESSES)]


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


@pytest.mark.parametrize("block", readme_blocks(), ids=lambda block: block.strip()[:40])
def test_readme_commands(block: str, up: Up) -> None:
    """Every command of the README works when pasted."""
    for address, setting in ADDRESSES.items():
        block = block.replace(address, f"127.0.0.1:{up.ports[setting]}")

    answer = paste(block.replace(".venv/bin/", ""))

    assert answer
    # An error's status line, a gateway's whole answer that is an error, or one of ClickHouse's.
    assert not re.search(r"HTTP/1.1 [45]|^\{\"code\":|DB::Exception", answer, re.MULTILINE)
