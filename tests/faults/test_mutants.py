"""Each change of mutants.toml breaks a claim of the guarantee, and the tests of that claim catch it.

The changes are made in a copy of the tree, one after the other; `make test-mutants` runs them alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.settings import ROOT

COPIED = ("common", "services", "etl", "gateway", "db", "local", "proto", "tests", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules")
# What pytest ends with when tests have failed; 2 and above are errors of its own, which prove nothing.
PASSED, FAILED = 0, 1
# For tests that take seconds. A mutant may hang them.
SECONDS_MAX = 300
MUTANTS_MIN = 25


@dataclass(frozen=True)
class Mutant:
    """A change, the unit tests that must fail for it, and what would no longer hold."""

    file: str
    original: str
    mutated: str
    tests: list[str]
    claim: str

    def __str__(self) -> str:
        return f"{self.file}: {self.claim}"


MUTANTS = [
    Mutant(**each)
    for each in tomllib.loads(Path(__file__).with_name("mutants.toml").read_text(encoding="utf-8"))["mutant"]
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the tests need."""
    copy = tmp_path_factory.mktemp("mutants") / "tree"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(source, copy / name)
    return copy


def run(tree: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run unit tests in the copy, up to the first that fails."""
    # A compiled file is known by its source's time and size, and a mutant may have both of the one before it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(tree / "examples")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *(f"tests/unit/test_{name}.py" for name in tests)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_places() -> None:
    """Each text that is changed stands in its file exactly once; when its line has moved, so must the mutant."""
    lost = [str(mutant) for mutant in MUTANTS if (ROOT / mutant.file).read_text().count(mutant.original) != 1]

    assert lost == []
    assert len(MUTANTS) >= MUTANTS_MIN


@pytest.mark.thorough
def test_unchanged(tree: Path) -> None:
    """Without a change all those tests pass, and what they test is the copy."""
    check = (
        f"import etl, services\n\n\ndef test():\n    assert {{etl.__file__, services.__file__}} == {origins(tree)!r}\n"
    )
    (tree / "tests" / "unit" / "test_here.py").write_text(check)
    ended = run(tree, ["here", *sorted({test for mutant in MUTANTS for test in mutant.tests})])

    assert ended.returncode == PASSED, ended.stdout + ended.stderr


def origins(tree: Path) -> set[str]:
    """Return where the packages of the copy come from."""
    return {str(tree / name / "__init__.py") for name in ("etl", "services")}


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant(tree: Path, mutant: Mutant) -> None:
    """The mutant's tests fail, or no longer end."""
    file = tree / mutant.file
    original = file.read_text()
    file.write_text(original.replace(mutant.original, mutant.mutated))
    try:
        ended = run(tree, mutant.tests)
    except subprocess.TimeoutExpired:
        return
    finally:
        file.write_text(original)

    assert ended.returncode == FAILED, f"it survives {' '.join(mutant.tests)}\n{ended.stdout}{ended.stderr}"
