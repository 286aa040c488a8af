"""Each mutant of mutants.toml breaks a claim of the guarantee, and the tests of that claim fail for it.

The mutants are applied one after the other in a copy of the tree; `make test-mutants` runs only these tests.
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
# The exit statuses of pytest if all tests pass, and if some fail; 2 and above are its own errors, which prove nothing.
PASSED, FAILED = 0, 1
# The tests take seconds, but a mutant may hang them.
SECONDS_MAX = 300
MUTANTS_MIN = 25


@dataclass(frozen=True)
class Mutant:
    """A change, the modules of unit tests that must fail for it, and the claim that it breaks."""

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
    """Copy the files that the tests need."""
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
    """Run unit tests in the copy until one fails."""
    # Python identifies a compiled file by its source's time and size, which may be those of the previous mutant.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(tree / "examples")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *map(path_of, tests)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


def path_of(name: str) -> str:
    """Return the file of a module of unit tests, as in `etl/loader`."""
    package, _, module = name.rpartition("/")
    return f"tests/unit/{package}/test_{module}.py"


def test_mutants_fit_the_code() -> None:
    """Each mutant's original text occurs exactly once in its file, and each of its test modules exists."""
    lost = [str(mutant) for mutant in MUTANTS if (ROOT / mutant.file).read_text().count(mutant.original) != 1]
    missing = [name for mutant in MUTANTS for name in mutant.tests if not (ROOT / path_of(name)).is_file()]

    assert lost == []
    assert missing == []
    assert len(MUTANTS) >= MUTANTS_MIN


@pytest.mark.thorough
def test_unchanged(tree: Path) -> None:
    """Without a mutant all the tests pass, and they import the copy."""
    check = (
        f"import etl, services\n\n\ndef test():\n    assert {{etl.__file__, services.__file__}} == {origins(tree)!r}\n"
    )
    (tree / "tests" / "unit" / "etl" / "test_here.py").write_text(check)
    ended = run(tree, ["etl/here", *sorted({test for mutant in MUTANTS for test in mutant.tests})])

    assert ended.returncode == PASSED, ended.stdout + ended.stderr


def origins(tree: Path) -> set[str]:
    """Return the files of the packages in the copy."""
    return {str(tree / name / "__init__.py") for name in ("etl", "services")}


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant(tree: Path, mutant: Mutant) -> None:
    """The mutant's tests fail, or hang."""
    file = tree / mutant.file
    original = file.read_text()
    file.write_text(original.replace(mutant.original, mutant.mutated))
    try:
        ended = run(tree, mutant.tests)
    except subprocess.TimeoutExpired:
        return
    finally:
        file.write_text(original)

    assert ended.returncode == FAILED, f"the mutant survives {' '.join(mutant.tests)}\n{ended.stdout}{ended.stderr}"
