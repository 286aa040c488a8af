"""The commands of the documentation, run as a newcomer's shell runs them, page by page, in the order of the page.

The shell has the PATH of a fresh login and nothing of this test's environment. `make up` is done by `ugc-up` on free
ports, and the pages' addresses are replaced by its own: the set-up that `make up` does first has been done.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.settings import Address
from db.clickhouse.client import connected
from local.processes.ports import free_port, port_answers
from local.settings import ROOT
from tests.support.clients.browser import WAIT_MS_MAX, browsing, needs_chromium
from tests.support.documents.pages import Command, commands, differs
from tests.support.processes.system import await_equal
from tests.support.processes.up import Up, await_output, command_line

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found through /proc")
PATH = "/usr/local/bin:/usr/bin:/bin"
# .ci/run builds grpcurl there; a page that uses it has its reader install it.
TOOLS = {"grpcurl": ROOT / ".local" / "bin" / "grpcurl"}
# The pages' addresses, and which setting chooses the port; the last is a web server that a page starts.
ADDRESSES = {
    "localhost:8000": "UGC_GATEWAY_LISTEN",
    "localhost:50051": "UGC_INGEST_LISTEN",
    "localhost:8123": "UGC_LOCAL_CLICKHOUSE_HTTP_PORT",
    "localhost:9092": "UGC_LOCAL_KAFKA_PORT",
}
WEB_ADDRESS, WEB_SERVER = "localhost:8080", "http.server 8080"
COMMAND_SECONDS_MAX = 120
# Their commands need a copy of the repository (test_docs_add_a_field) or two machines.
ELSEWHERE = {"docs/how-to/add-a-field.md"}
PAGES = sorted(
    name
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if (name := path.relative_to(ROOT).as_posix()) not in ELSEWHERE and "docs/operating/" not in name and commands(path)
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run what `make up` runs, for all pages that start it without settings."""
    with running(tmp_path_factory.mktemp("up"), {}) as up:
        yield up


@contextlib.contextmanager
def running(folder: Path, settings: dict[str, str]) -> Iterator[Up]:
    """Run a system of its own."""
    up = Up(folder, settings)
    with up.started():
        await_output(up, "Stop with Ctrl-C.")
        yield up


def settings_of_up(command: Command) -> dict[str, str] | None:
    """Return the settings with which a block calls `make up`; None when it calls something else."""
    words = shlex.split(command.text, comments=True)
    return dict(word.split("=", 1) for word in words[:-2]) if words[-2:] == ["make", "up"] else None


class Newcomer:
    """Runs the blocks of one page; as a context it ends what it has started."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.web_port = str(free_port())
        self._background: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Newcomer:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._background:
            process.kill()
            process.wait()

    def check(self, command: Command, up: Up) -> list[str]:
        """Run a block, of which every command must succeed; return how its output differs from what is shown."""
        if missing := [tool for tool, path in TOOLS.items() if tool in command.text and not path.exists()]:
            pytest.skip(f"{missing[0]} is not in .local/bin, where .ci/run builds it")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._with_ports(command.text, up)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=self._environment(command, up),
            timeout=COMMAND_SECONDS_MAX,
        )
        assert done.returncode == 0, f"line {command.line}: {done.stdout}{done.stderr}"
        difference = differs(command.output, done.stdout) if command.output else ""
        return [difference] if difference else []

    def start(self, command: Command, up: Up) -> None:
        """Start a block that runs until Ctrl-C, and wait until its port answers: it is a web server."""
        self._background.append(
            subprocess.Popen(
                ["bash", "-c", f"exec {self._with_ports(command.text, up)}"],
                cwd=ROOT,
                env=self._environment(command, up),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        await_equal(lambda: port_answers(Address("127.0.0.1", int(self.web_port))), wanted=True)

    def adapted(self, settings: dict[str, str]) -> dict[str, str]:
        """Return settings of `make up` with the port of this page's web server."""
        return {name: value.replace(WEB_ADDRESS, f"localhost:{self.web_port}") for name, value in settings.items()}

    def _with_ports(self, text: str, up: Up) -> str:
        for address, setting in ADDRESSES.items():
            text = text.replace(address, f"127.0.0.1:{up.ports[setting]}")
        text = text.replace(WEB_ADDRESS, f"localhost:{self.web_port}")
        return text.replace(WEB_SERVER, f"http.server {self.web_port}")

    def _environment(self, command: Command, up: Up) -> dict[str, str]:
        folders = [str(path.parent) for tool, path in TOOLS.items() if tool in command.text]
        # The reader's system is in the default directory, where the commands find its servers.
        moved = {"UGC_LOCAL_DIRECTORY": up.environment()["UGC_LOCAL_DIRECTORY"]}
        return {"PATH": os.pathsep.join([*folders, PATH]), "HOME": str(self._home), "LANG": "C.UTF-8", **moved}


@pytest.mark.parametrize("page", PAGES)
def test_commands(page: str, shared: Up, tmp_path: Path) -> None:
    """Every command of a page succeeds, and prints what the page shows."""
    problems = []
    with contextlib.ExitStack() as started:
        newcomer = started.enter_context(Newcomer(tmp_path))
        up = shared
        for command in commands(ROOT / page):
            if command.not_run:
                continue
            if (settings := settings_of_up(command)) is not None:
                up = started.enter_context(running(tmp_path, newcomer.adapted(settings))) if settings else shared
            elif command.in_background:
                newcomer.start(command, up)
            else:
                problems += [f"line {command.line}: {problem}" for problem in newcomer.check(command, up)]

    assert problems == []


def test_the_etl_of_the_tutorial(shared: Up) -> None:
    """The pattern by which the tutorial kills the etl finds that of the running system, and no process but etls."""
    (kill,) = [each.text for each in commands(ROOT / "docs" / "tutorial.md") if each.text.startswith("pkill -9 -f ")]
    find = kill.replace("pkill -9 -f", "pgrep -f")
    done = subprocess.run(["bash", "-c", find], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [int(pid) for pid in done.stdout.split()]

    assert {command_line(pid).split()[1:] == ["-m", "etl"] for pid in found} == {True}
    assert sum(str(shared.folder) in Path(f"/proc/{pid}/environ").read_text() for pid in found) == 1


@needs_chromium
async def test_the_example_player(tmp_path: Path) -> None:
    """The page of the browser's how-to sends a like that the reader sees acknowledged, and a beacon while it closes."""
    page = ROOT / "docs" / "how-to" / "send-from-a-browser.md"
    start, serve = commands(page)[:2]
    settings = settings_of_up(start)
    assert settings is not None
    with (
        Newcomer(tmp_path) as newcomer,
        running(tmp_path, newcomer.adapted(settings)) as up,
        connected(up.database) as tables,
    ):
        newcomer.start(serve, up)
        async with browsing() as browser:
            player = await browser.new_page()
            await player.goto(f"http://localhost:{newcomer.web_port}/player.html?api=http://{up.gateway}")
            await player.get_by_role("button", name="Like").click()
            await player.get_by_text("like: 201").wait_for(timeout=WAIT_MS_MAX)
            await player.close(run_before_unload=True)
            await_equal(
                lambda: tables.rows("SELECT event FROM events WHERE event IN ('like', 'leave') ORDER BY event"),
                [("leave",), ("like",)],
            )
