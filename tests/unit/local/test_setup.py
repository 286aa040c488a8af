"""The set-up: what is missing is one clear line with its cure, what is done is not done again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local import setup
from local.setup import (
    SetupError,
    Step,
    check_prerequisites,
    is_due,
    is_local,
    is_usable,
    java_version,
    main,
    run,
    run_steps,
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave only the programs that a test puts into this folder; all that are needed are there."""
    for name in ("node", "npm", "mvn"):
        program(tmp_path, name)
    program(tmp_path, "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep stamps and logs in a folder of the test's own."""
    folder = tmp_path / "local"
    monkeypatch.setattr(setup, "LOCAL", folder)
    return folder


def program(folder: Path, name: str, script: str = "exit 0") -> None:
    """Put an executable into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("programs")
def test_nothing_missing() -> None:
    """A machine that has all of it is accepted."""
    check_prerequisites(local_kafka=True)


@pytest.mark.parametrize(
    ("missing", "cure"),
    [
        ("npm", "apt-get install nodejs npm"),
        ("node", "apt-get install nodejs npm"),
        ("java", "apt-get install openjdk-17-jre-headless"),
        ("mvn", "apt-get install maven"),
    ],
)
def test_missing_program(programs: Path, missing: str, cure: str) -> None:
    """A missing program is one line with the command that installs it."""
    (programs / missing).unlink()

    with pytest.raises(SetupError) as refused:
        check_prerequisites(local_kafka=True)
    assert cure in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("says", "version"), [('"11.0.2" 2019', 11), ('"1.8.0_392"', 1), ('"21" 2023', 21), ("what", 0)]
)
def test_java_version(programs: Path, says: str, version: int) -> None:
    """Every form of Java's version is read; what is none counts as too old."""
    program(programs, "java", f"echo 'openjdk version {says}' >&2")

    assert java_version() == version


def test_old_java(programs: Path) -> None:
    """A Java before 17 is refused."""
    program(programs, "java", "echo 'openjdk version \"11.0.2\"' >&2")

    with pytest.raises(SetupError, match="Java 17 or newer"):
        check_prerequisites(local_kafka=True)


def test_kafka_elsewhere(programs: Path) -> None:
    """With a Kafka of the user's own, neither Java nor Maven is needed."""
    (programs / "java").unlink()
    (programs / "mvn").unlink()

    check_prerequisites(local_kafka=False)


@pytest.mark.parametrize(
    ("value", "lock", "local"),
    [(None, "run.txt", True), ("", "run.txt", True), ("kafka:9092", "run.txt", False), ("kafka:9092", "dev.txt", True)],
)
def test_servers_of_the_user(monkeypatch: pytest.MonkeyPatch, value: str | None, lock: str, *, local: bool) -> None:
    """A server that is named, and not by an empty variable, is not installed here, except for tests."""
    monkeypatch.delenv("UGC_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    if value is not None:
        monkeypatch.setenv("UGC_KAFKA_BOOTSTRAP_SERVERS", value)

    assert is_local("UGC_KAFKA_BOOTSTRAP_SERVERS", lock) == local


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python before 3.11 is refused."""
    monkeypatch.setattr(setup.sys, "version_info", (3, 10, 0))  # type: ignore[attr-defined]  # a module of the module

    with pytest.raises(SetupError, match=r"Python 3\.11 or newer"):
        check_prerequisites(local_kafka=True)


@pytest.mark.usefixtures("programs")
def test_missing_program_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole program then ends with status 1 and that line."""
    (programs / "mvn").unlink()
    monkeypatch.setattr(sys, "argv", ["setup.py", "test"])

    assert main() == 1
    assert capsys.readouterr().err == ("Maven is needed (for Kafka's jars); install it with: apt-get install maven\n")


def test_usable_environment(tmp_path: Path) -> None:
    """An environment is used again only when it is whole and where it was made; otherwise it is made anew."""
    made, moved = tmp_path / "made", tmp_path / "moved"
    assert not is_usable(made)
    run([sys.executable, "-m", "venv", str(made)], tmp_path / "log")
    assert is_usable(made)
    made.rename(moved)
    assert not is_usable(moved)
    moved.rename(made)
    (made / "bin" / "pip").unlink()
    assert not is_usable(made)


def test_done_once(local: Path) -> None:
    """A step runs when it never ran, when its input changed, or when its output is gone; otherwise it does not."""
    source, target = local.parent / "source", local.parent / "target"
    source.write_text("1")
    ran: list[str] = []

    def install(_log: Path) -> None:
        ran.append(source.read_text())
        target.touch()

    step = Step("a step", (source,), (target,), install)
    for change in (None, None, lambda: source.write_text("2"), None, target.unlink, None):
        if change:
            change()
        run_steps([each for each in [step] if is_due(each)])

    assert ran == ["1", "2", "2"]


def test_failed_step_is_due_again(local: Path) -> None:
    """A step that failed says how, with the end of its output, and is tried again the next time."""
    source = local.parent / "source"
    source.touch()
    step = Step("a step", (source,), (), lambda log: run(["sh", "-c", "echo the reason; exit 3"], log))

    with pytest.raises(SetupError, match=r"status 3(?s:.*)the reason"):
        run_steps([step])
    assert is_due(step)
