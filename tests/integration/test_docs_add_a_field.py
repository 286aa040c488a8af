"""docs/how-to/add-a-field.md followed in a copy of the repository: its diff applies, the tests that it names pass."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from local.settings import ROOT
from tests.support.documents.pages import commands

PAGE = ROOT / "docs" / "how-to" / "add-a-field.md"
# What `make test` has downloaded into the folder.
DOWNLOADED = ("local/clickhouse/node_modules", "gateway/openapi/static/scalar.js", ".local/kafka/libs")
PATH = "/usr/local/bin:/usr/bin:/bin"
# The tests that the page names start Kafka, ClickHouse and the three processes.
COMMAND_SECONDS_MAX = 600


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy the repository's files, with an environment whose packages of the project are the copy's."""
    copy = tmp_path / "ugc-events"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    for name in DOWNLOADED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).symlink_to(ROOT / name)
    environment = copy / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # The last one is of this environment; the paths that it adds itself, to this repository, are not followed.
    paths = [copy, copy / "proto" / "gen", sysconfig.get_path("purelib")]
    (packages / "copy.pth").write_text("".join(f"{path}\n" for path in paths))
    for script in Path(sys.executable).parent.glob("ugc-*"):
        shutil.copy2(script, environment / "bin")
        moved = script.read_text().replace(sys.prefix, str(environment))
        (environment / "bin" / script.name).write_text(moved)
    (environment / "bin" / "buf").symlink_to(Path(sys.executable).parent / "buf")
    return copy


def test_commands(clone: Path) -> None:
    """Every command of the page succeeds in the copy, one after the other."""
    run = [each for each in commands(PAGE) if not each.not_run]
    for command in run:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.text],
            cwd=clone,
            env={"PATH": PATH, "HOME": str(clone.parent), "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS_MAX,
        )
        assert done.returncode == 0, f"line {command.line}: {done.stdout}{done.stderr}"

    assert len(run) == 3
    assert "device" in (clone / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")
