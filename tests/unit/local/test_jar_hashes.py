"""Downloaded jars are those whose hashes are recorded; otherwise the set-up fails and fetches them again next time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from local.setup.packages import CLUSTER, check_hashes
from local.setup.steps import SetupError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two files."""
    folder = tmp_path / "libs"
    folder.mkdir()
    for name in ("a.jar", "b.jar"):
        (folder / name).write_text(name)
    return folder


def lines(*names: str) -> str:
    """Return a list in the format of sha256sum."""
    return "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in names)


def test_recorded_files(folder: Path) -> None:
    """Exactly the recorded files are accepted."""
    check_hashes(folder, lines("a.jar", "b.jar"))

    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("wanted", [("a.jar",), ("a.jar", "b.jar", "c.jar")])
def test_other_files(folder: Path, wanted: tuple[str, ...]) -> None:
    """A file too many or too few is refused, and the folder is deleted."""
    with pytest.raises(SetupError, match=r"[bc]\.jar"):
        check_hashes(folder, lines(*wanted))
    assert not folder.exists()


def test_changed_file(folder: Path) -> None:
    """A file with another content is refused."""
    (folder / "b.jar").write_text("changed")

    with pytest.raises(SetupError, match=r"recorded: b\.jar"):
        check_hashes(folder, lines("a.jar", "b.jar"))


def test_list_of_the_cluster() -> None:
    """The recorded list has a line for each of ZooKeeper's jars."""
    listed = [line.split() for line in (CLUSTER / "jars.sha256").read_text(encoding="utf-8").splitlines()]

    assert all(len(digest) == 64 and name.endswith(".jar") for digest, name in listed)
    assert any(name.startswith("zookeeper-") for _, name in listed)
