"""The set-up: a missing prerequisite is one line with the command that installs it; what is done is not repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from local.setup import __main__ as program
from local.setup import steps
from local.setup.__main__ import check_prerequisites, is_local, java_version, main
from local.setup.steps import SetupError, Step, is_due, run, run_steps


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with every prerequisite the only one on PATH."""
    for name in ("node", "npm", "mvn"):
        executable(tmp_path, name)
    executable(tmp_path, "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep stamps and logs in a folder of the test's own."""
    folder = tmp_path / "local"
    monkeypatch.setattr(steps, "LOCAL", folder)
    return folder


def executable(folder: Path, name: str, script: str = "exit 0") -> None:
    """Put an executable into a folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("programs")
def test_nothing_missing() -> None:
    """A machine that has every prerequisite is accepted."""
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
    ("answer", "version"), [('"11.0.2" 2019', 11), ('"1.8.0_392"', 1), ('"21" 2023', 21), ("what", 0)]
)
def test_java_version(programs: Path, answer: str, version: int) -> None:
    """Every form of Java's version is read; an answer without one counts as too old."""
    executable(programs, "java", f"echo 'openjdk version {answer}' >&2")

    assert java_version() == version


def test_old_java(programs: Path) -> None:
    """A Java older than 17 is refused."""
    executable(programs, "java", "echo 'openjdk version \"11.0.2\"' >&2")

    with pytest.raises(SetupError, match="Java 17 or newer"):
        check_prerequisites(local_kafka=True)


def test_kafka_elsewhere(programs: Path) -> None:
    """With the user's own Kafka, neither Java nor Maven is needed."""
    (programs / "java").unlink()
    (programs / "mvn").unlink()

    check_prerequisites(local_kafka=False)


@pytest.mark.parametrize(
    ("value", "tests", "local"),
    [(None, False, True), ("", False, True), ("kafka:9092", False, False), ("kafka:9092", True, True)],
)
def test_servers_of_the_user(monkeypatch: pytest.MonkeyPatch, value: str | None, *, tests: bool, local: bool) -> None:
    """A server that a variable names is not installed here, except for tests; an empty variable names none."""
    monkeypatch.delenv("UGC_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    if value is not None:
        monkeypatch.setenv("UGC_KAFKA_BOOTSTRAP_SERVERS", value)

    assert is_local("UGC_KAFKA_BOOTSTRAP_SERVERS", tests=tests) == local


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python older than 3.11 is refused."""
    monkeypatch.setattr(program.sys, "version_info", (3, 10, 0))  # type: ignore[attr-defined]  # a module of the module

    with pytest.raises(SetupError, match=r"Python 3\.11 or newer"):
        check_prerequisites(local_kafka=True)


@pytest.mark.usefixtures("programs")
def test_missing_program_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program then ends with status 1 and that line."""
    (programs / "mvn").unlink()
    monkeypatch.setattr(sys, "argv", ["setup", "test"])

    assert main() == 1
    assert capsys.readouterr().err == ("Maven is needed (for Kafka's jars); install it with: apt-get install maven\n")


def test_done_once(local: Path) -> None:
    """A step runs when it never ran, when its input changed, or when its output is missing; otherwise it does not."""
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


def test_one_set_up_at_a_time(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set-up waits for another one of the same clone, and gives up with the name of the lock."""
    monkeypatch.setattr(steps, "STEP_SECONDS_MAX", 0)
    with steps.alone(), pytest.raises(SetupError, match=str(local / "setup.lock")), steps.alone():
        pytest.fail("the second set-up runs")
    with steps.alone():
        pass


def test_step_without_its_output(local: Path) -> None:
    """A step whose tool succeeds without making the output fails with the end of the log, and is due again."""
    target = local.parent / "missing"
    step = Step("a step", (), (target,), lambda log: run(["sh", "-c", "echo up to date"], log))

    with pytest.raises(SetupError, match=r"not installed: .*missing(?s:.*)up to date"):
        run_steps([step])
    assert is_due(step)


def test_failed_step_is_due_again(local: Path) -> None:
    """A step that fails raises an error with the end of its output, and runs again the next time."""
    source = local.parent / "source"
    source.touch()
    step = Step("a step", (source,), (), lambda log: run(["sh", "-c", "echo the reason; exit 3"], log))

    with pytest.raises(SetupError, match=r"status 3(?s:.*)the reason"):
        run_steps([step])
    assert is_due(step)
