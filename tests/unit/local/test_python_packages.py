"""The virtual environment of the set-up: which uv installs, and when the environment is made again."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from local.settings import ROOT
from local.setup import python_packages
from local.setup.__main__ import python_packages as packages_step
from local.setup.python_packages import (
    INCOMPLETE,
    UV_MIN,
    benchmark_step,
    is_usable,
    prepared_uv,
    python_step,
    uv_variables,
)
from local.setup.steps import Step, run
from tests.unit.local.test_setup import executable

UV = Path(sys.executable).with_name("uv")
LOCKED = ("uv.txt", "run.txt", "traces.txt", "dev.txt", "bench.txt")
# What `pip config list` prints.
PIP_CONFIGURATION = """\
:env:.cert='/etc/company.pem'
:env:.default-timeout='180'
global.cert='/etc/ca.pem'
global.index-url='https://mirror.example/simple'
global.trusted-host='a.example\\nb.example'
install.extra-index-url='\\nhttps://x.example/simple\\nhttps://y.example/simple'
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the only one on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the commands that would be run, without the paths."""
    collected: list[str] = []

    def collect(command: list[str], *_: object) -> None:
        collected.append(" ".join(re.sub(r"/.*/(python|uv|environment)[0-9.]*$", r"\1", word) for word in command))
        Path(command[-1]).mkdir(exist_ok=True) if "venv" in command else None

    monkeypatch.setattr(python_packages, "run", collect)
    return collected


def test_usable_environment(tmp_path: Path) -> None:
    """An environment is used again only when it is complete and where it was made."""
    made, moved = tmp_path / "made", tmp_path / "moved"
    assert not is_usable(made)
    run([str(UV), "venv", "--python", sys.executable, str(made)], tmp_path / "log")
    assert is_usable(made)
    made.rename(moved)
    assert not is_usable(moved)
    moved.rename(made)
    (made / INCOMPLETE).touch()
    assert not is_usable(made)
    (made / INCOMPLETE).unlink()
    (made / "bin" / "activate").unlink()
    assert not is_usable(made)


def test_environment_of_another_python(tmp_path: Path) -> None:
    """An environment of another Python, or of one that is no longer installed, is not used."""
    environment = tmp_path / "environment"
    run([str(UV), "venv", "--python", sys.executable, str(environment)], tmp_path / "log")
    (environment / "bin" / "python").unlink()
    assert not is_usable(environment)
    executable(environment / "bin", "python", "echo '3.11.0 (another build)'")
    assert not is_usable(environment)


def test_uv_of_the_user(tmp_path: Path, path: Path) -> None:
    """A recent uv on PATH makes the environment, in the place of an incomplete one, and is returned."""
    (path / "uv").symlink_to(UV)
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / INCOMPLETE).touch()

    assert prepared_uv(environment, tmp_path / "log") == (str(path / "uv"), {})
    assert is_usable(environment)


@pytest.mark.parametrize("kind", ["symbolic link", "dangling link", "file"])
def test_in_the_place_of_an_environment(tmp_path: Path, path: Path, kind: str) -> None:
    """A link or a file in the place of the environment is replaced; what a link points to is kept."""
    (path / "uv").symlink_to(UV)
    environment, other = tmp_path / "environment", tmp_path / "other"
    if kind == "symbolic link":
        other.mkdir()
        (other / "file").touch()
    environment.touch() if kind == "file" else environment.symlink_to(other)

    prepared_uv(environment, tmp_path / "log")
    assert is_usable(environment)
    assert not environment.is_symlink()
    assert kind != "symbolic link" or [each.name for each in other.iterdir()] == ["file"]


@pytest.mark.parametrize("version", [None, "0.4.30", "unknown"])
def test_locked_uv(tmp_path: Path, path: Path, commands: list[str], version: str | None) -> None:
    """Without a uv, or with one that is too old, pip installs the locked one, checked by hash, into the environment."""
    if version is not None:
        executable(path, "uv", f"echo 'uv {version}'")
    uv, _ = prepared_uv(tmp_path / "environment", tmp_path / "log")

    assert uv == str(tmp_path / "environment" / "bin" / "uv")
    assert commands == [
        "python -m venv --clear environment",
        "python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r locks/uv.txt",
    ]


@pytest.mark.usefixtures("path")
def test_environment_is_kept(tmp_path: Path, commands: list[str]) -> None:
    """A usable environment with a uv in it is neither made again nor given another uv."""
    environment = tmp_path / "environment"
    run([str(UV), "venv", "--python", sys.executable, str(environment)], tmp_path / "log")
    shutil.copy(UV, environment / "bin" / "uv")

    assert prepared_uv(environment, tmp_path / "log")[0] == str(environment / "bin" / "uv")
    assert commands == []


def test_interrupted_installation(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that does not end leaves an environment that the next one makes again."""

    def interrupted(command: list[str], *_: object) -> None:
        if "sync" in command:
            raise KeyboardInterrupt
        run(command, tmp_path / "log")

    monkeypatch.setattr(python_packages, "run", interrupted)
    (path / "uv").symlink_to(UV)
    environment = tmp_path / "environment"
    with pytest.raises(KeyboardInterrupt):
        python_step("run.txt", environment).install(tmp_path / "log")
    assert (environment / "pyvenv.cfg").exists()
    assert not is_usable(environment)


def test_benchmarks(tmp_path: Path, path: Path, commands: list[str]) -> None:
    """The environment of the benchmarks has the packages of its lock, and not the project."""
    (path / "uv").symlink_to(UV)
    environment = tmp_path / "environment"
    run([str(UV), "venv", "--python", sys.executable, str(environment)], tmp_path / "log")
    benchmark_step(environment).install(tmp_path / "log")

    assert commands == ["uv pip sync --python python --require-hashes locks/bench.txt"]
    assert is_usable(environment)


def test_same_versions() -> None:
    """The peers of the benchmarks use the versions of the packages that the project uses too."""
    run_lock, bench_lock = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "locks" / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("run.txt", "bench.txt")
    )
    shared = run_lock.keys() & bench_lock.keys()

    assert {"aiohttp", "grpcio", "uvloop"} <= shared
    assert {name: bench_lock[name] for name in shared} == {name: run_lock[name] for name in shared}


def test_pip_configuration() -> None:
    """The indexes that the user has configured for pip are used; a variable that the user set for uv stays."""
    assert uv_variables(PIP_CONFIGURATION, {"UV_INSECURE_HOST": "mine.example"}) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://x.example/simple https://y.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/company.pem",
    }
    assert uv_variables("", {}) == {}


@pytest.mark.parametrize(("tests_due", "name"), [(True, "python packages"), (False, "python test packages")])
def test_packages_of_the_tests(monkeypatch: pytest.MonkeyPatch, name: str, *, tests_due: bool) -> None:
    """`make up` does not remove the packages of the tests: an environment that has them is complete for it too."""
    monkeypatch.setattr("local.setup.__main__.is_due", lambda step: isinstance(step, Step) and tests_due)

    assert packages_step(tests=False).name == name


def test_locks() -> None:
    """Every locked package has hashes, no lock names a host, and uv is the same in all of its locks."""
    locks = {name: (ROOT / "locks" / name).read_text(encoding="utf-8") for name in LOCKED}
    for text in locks.values():
        packages = re.findall(r"^\S.*", text, re.MULTILINE)
        assert packages
        assert [line for line in packages if not re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)? \\", line)] == []
        assert len(re.findall(r"\\\n    --hash=sha256:", text)) >= len(packages)
        assert "://" not in text
    (pinned,) = re.findall(r"^uv==(\d+)\.(\d+)\.(\d+)", locks["uv.txt"], re.MULTILINE)
    assert locks["uv.txt"].strip() in locks["dev.txt"]
    assert locks["uv.txt"].strip() in locks["bench.txt"]
    assert tuple(map(int, pinned)) >= UV_MIN
