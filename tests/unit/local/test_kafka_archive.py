"""The archive of Kafka's classes: it is used where there is one, and brokers start where Java cannot make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.kafka import files
from local.setup import kafka_archive
from local.setup.kafka_archive import make_archive

OPTION = "-XX:SharedArchiveFile="


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a folder without jars and without an archive."""
    for module in (files, kafka_archive):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        monkeypatch.setattr(module, "ARCHIVE", tmp_path / "classes.jsa")
    monkeypatch.setattr(files, "LIBRARIES", tmp_path)
    (tmp_path / "kafka_2.13-4.4.0.jar").touch()
    return tmp_path


def test_used(folder: Path) -> None:
    """The command line names the archive when there is one that is not empty."""
    assert OPTION not in " ".join(files.broker())

    (folder / "classes.jsa").touch()
    assert OPTION not in " ".join(files.broker())

    (folder / "classes.jsa").write_bytes(b"classes")
    assert f"{OPTION}{folder}/classes.jsa" in files.broker()


@pytest.mark.parametrize("java", ["exit 1", "exit 0", "echo; exec sleep 0.01"])
def test_java_without_archives(folder: Path, monkeypatch: pytest.MonkeyPatch, java: str) -> None:
    """Where Java fails or makes no archive, an empty one is left, its log has the reason, and nothing else remains."""
    (folder / "java").write_text(f"#!/bin/sh\n{java}\n")
    (folder / "java").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    make_archive(folder / "log")

    assert (folder / "classes.jsa").read_bytes() == b""
    assert "Kafka starts without an archive of its classes" in (folder / "log").read_text()
    assert {path.name for path in folder.iterdir()} == {"classes.jsa", "java", "kafka_2.13-4.4.0.jar", "log"}


def test_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new archive takes the place of an old one only when it is whole."""
    (folder / "classes.jsa").write_bytes(b"old")

    def run_broker(directory: Path, _port: int, _log: Path) -> None:
        assert not (folder / "classes.jsa").exists()
        (directory / "classes.jsa").write_bytes(b"new")

    monkeypatch.setattr(kafka_archive, "run", lambda *_, **__: None)
    monkeypatch.setattr(kafka_archive, "run_broker", run_broker)
    make_archive(folder / "log")

    assert (folder / "classes.jsa").read_bytes() == b"new"
