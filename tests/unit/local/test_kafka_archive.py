"""What a start of Kafka takes from the set-up: an archive of its classes, and the content of a formatted directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from local.kafka import files, server
from local.setup import kafka_archive
from local.setup.kafka_archive import make_archive

OPTION = "-XX:SharedArchiveFile="


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a folder without jars and without an archive."""
    for module in (files, kafka_archive):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
        monkeypatch.setattr(module, "ARCHIVE", tmp_path / "classes.jsa")
    for reader in ("local.kafka.server", "local.setup.kafka_archive"):
        monkeypatch.setattr(f"{reader}.FORMATTED", tmp_path / "formatted.checkpoint")
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
    """What is new takes the place of what is old only when both are whole."""
    names = ("classes.jsa", "formatted.checkpoint")
    for name in names:
        (folder / name).write_bytes(b"old")

    def format_directory(_command: Sequence[str], _log: Path, directory: Path) -> None:
        checkpoint = directory / files.CHECKPOINT
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"new")

    def run_broker(directory: Path, _port: int, _log: Path) -> None:
        assert not any((folder / name).exists() for name in names)
        (directory / "classes.jsa").write_bytes(b"new")

    monkeypatch.setattr(kafka_archive, "run", format_directory)
    monkeypatch.setattr(kafka_archive, "run_broker", run_broker)
    make_archive(folder / "log")

    assert [(folder / name).read_bytes() for name in names] == [b"new", b"new"]


def test_formatted_like_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying formats a directory with the same files and properties as Kafka's tool, and with ids of its own."""
    made, copied = tmp_path / "made", tmp_path / "copied"
    for folder, formatted in ((made, tmp_path / "absent"), (copied, made / files.CHECKPOINT)):
        monkeypatch.setattr("local.kafka.server.FORMATTED", formatted)
        files.write_files(folder, 9, 10, 1_000)
        server.format_storage(folder)

    assert names_in(copied) == names_in(made)
    first, second = properties_of(made), properties_of(copied)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == {"cluster.id", "directory.id"}


def test_formatted_again(folder: Path) -> None:
    """A directory that the tool has not finished is formatted again, and one that is formatted stays as it is."""
    (folder / "formatted.checkpoint").write_bytes(b"whole")
    checkpoint = folder / files.CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"half")
    checkpoint.chmod(0o400)

    server.format_storage(folder)
    assert checkpoint.read_bytes() == b"whole"

    formatted = properties_of(folder)
    server.format_storage(folder)
    assert properties_of(folder) == formatted


def names_in(folder: Path) -> set[str]:
    """Return the files of a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def properties_of(folder: Path) -> dict[str, str]:
    """Return the properties of a formatted directory."""
    lines = (folder / files.META_PROPERTIES).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))
