"""Every command answers --help and --version and rejects unknown arguments, before it reads a setting or connects."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from common.commands import COLUMNS_MIN, Command
from common.settings import Settings
from db.settings import AddPartitionsSettings, AuditSettings, MigrateSettings, ReplaySettings, RewindSettings
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from local.settings import ROOT, LocalSettings, UpSettings
from services.ingest.settings import IngestSettings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SETTINGS: dict[str, type[Settings]] = {
    "ugc-ingest": IngestSettings,
    "ugc-gateway": GatewaySettings,
    "ugc-openapi": Settings,
    "ugc-etl": EtlSettings,
    "ugc-migrate": MigrateSettings,
    "ugc-audit": AuditSettings,
    "ugc-replay": ReplaySettings,
    "ugc-rewind": RewindSettings,
    "ugc-add-partitions": AddPartitionsSettings,
    "ugc-servers": LocalSettings,
    "ugc-up": UpSettings,
}
MODULES = {
    "services.ingest": "ugc-ingest",
    "gateway": "ugc-gateway",
    "gateway.openapi": "ugc-openapi",
    "etl": "ugc-etl",
    "etl.alive": "python -m etl.alive",
    "db.migrate": "ugc-migrate",
    "db.audit": "ugc-audit",
    "db.replay": "ugc-replay",
    "db.rewind": "ugc-rewind",
    "db.add_partitions": "ugc-add-partitions",
    "local.servers": "ugc-servers",
    "local.up": "ugc-up",
}
# Every process refuses to start with these.
BAD_SETTINGS = {name: "not valid" for kind in SETTINGS.values() for name in kind.model_fields}
SECONDS_MAX = 60
# What these commands need before they look at other arguments.
REQUIRED = {
    "ugc-replay": ["--reason", "refused"],
    "ugc-rewind": ["--to-table"],
    "ugc-add-partitions": ["--to", "9"],
    "ugc-openapi": ["descriptors.binpb"],
}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose settings are all bad, in a terminal of 80 columns."""
    bad = {f"UGC_{name.upper()}": value for name, value in BAD_SETTINGS.items()}
    return subprocess.run(
        command,
        env={**os.environ, **bad, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def installed(name: str) -> str:
    """Return the path of an installed command."""
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize("name", SETTINGS)
def test_installed(name: str) -> None:
    """Help names each setting; the version is the package's; an unknown argument ends the command with status 2."""
    help_, version = run(installed(name), "--help"), run(installed(name), "--version")
    unknown = run(installed(name), *REQUIRED.get(name, []), "--no-such-argument", "surplus")

    assert (help_.returncode, help_.stderr) == (0, "")
    assert help_.stdout.startswith(f"usage: {name} ")
    for field in SETTINGS[name].model_fields:
        assert f"\n  UGC_{field.upper()}  [" in help_.stdout
    assert (version.returncode, version.stdout) == (0, f"{name} {PROJECT['version']}\n")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.endswith(f"{name}: error: unrecognized arguments: --no-such-argument surplus\n")


@pytest.mark.parametrize(("module", "name"), MODULES.items())
def test_modules(module: str, name: str) -> None:
    """`python -m` starts the same command."""
    assert run(sys.executable, "-m", module, "--version").stdout == f"{name} {PROJECT['version']}\n"


def test_all_are_tested() -> None:
    """No installed command is left out above."""
    assert set(PROJECT["scripts"]) == set(SETTINGS)


def test_libraries_are_not_loaded() -> None:
    """Version and rejection come before any library is imported."""
    code = (
        "import sys; from db.commands import AUDIT\n"
        "try: AUDIT.parse([{!r}])\n"
        "finally: print(sorted({{'pydantic', 'confluent_kafka', 'clickhouse_driver', 'google'}} & set(sys.modules)))"
    )
    for argument in ("--version", "--no-such-argument"):
        assert run(sys.executable, "-c", code.format(argument)).stdout.splitlines()[-1] == "[]"


def test_locale_and_width() -> None:
    """In the locale C, and in a narrow terminal, help is printed whole."""
    done = run(installed("ugc-audit"), "--help", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", COLUMNS="60")
    words = run(installed("ugc-audit"), "--help").stdout.split()

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == sorted(words)
    assert max(map(len, done.stdout.splitlines())) <= 60


def test_characters_that_the_locale_lacks() -> None:
    """A text with other characters is printed with a replacement for each."""
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(sys.executable, "-c", "from common.commands import write_out; write_out('caf\\u00e9\\n')", **environment)

    assert (done.returncode, done.stdout) == (0, "caf?\n")


def test_reader_that_has_gone() -> None:
    """When the reader has closed its end, as `head` does, help ends with the status of SIGPIPE and no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [installed("ugc-gateway"), "--help"]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=SECONDS_MAX, check=False)
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", "standard output is closed"), (">/dev/full", "[Errno 28] No space left on device")],
)
def test_output_that_cannot_be_written(redirection: str, reason: str) -> None:
    """Help that cannot be written is an error."""
    done = run("/bin/sh", "-c", f"exec '{installed('ugc-audit')}' --help {redirection}")

    assert (done.returncode, done.stderr) == (74, f"cannot write to standard output: {reason}\n")


def limited(parser: argparse.ArgumentParser) -> None:
    """Add an argument."""
    parser.add_argument("--limit")


def test_abbreviations_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """An argument is written whole: a later argument may begin alike."""
    command = Command("ugc-test", "Test.", arguments=limited)
    with pytest.raises(SystemExit) as ended:
        command.parser().parse_args(["--lim", "1"])

    assert ended.value.code == 2
    assert "unrecognized arguments: --lim 1" in capsys.readouterr().err
    assert command.parser().parse_args(["--limit", "1"]) == argparse.Namespace(limit="1")


def test_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that reports almost no width still gets readable lines."""
    monkeypatch.setenv("COLUMNS", "1")
    lines = Command("ugc-test", "Test " * 50).help().splitlines()

    assert COLUMNS_MIN - 5 <= max(map(len, lines)) <= COLUMNS_MIN


CLOSED = """
import faulthandler, os, sys
from common.commands import open_standard_streams
open_standard_streams()
faulthandler.dump_traceback_later(60, exit=True)
print("text", file=sys.stderr, flush=True)
sys.exit([os.readlink(f"/proc/self/fd/{number}") for number in range(3)] != [os.devnull] * 3)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc, which only Linux has")
def test_closed_standard_streams() -> None:
    """A process that was started without standard streams opens no file or socket in their place, and can log."""
    ended = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, CLOSED], cwd=ROOT, check=False
    )

    assert ended.returncode == 0
