"""common/watched_files.py: a change is found, whatever its form; what cannot be used keeps the last good value."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.outage_log import OutageLog
from common.watched_files import WatchedFiles

OLD_NS = time.time_ns() - 3_600 * 10**9


def watched(file: Path) -> WatchedFiles[int]:
    return WatchedFiles([file], lambda: int(file.read_text()), OutageLog("reading a number"))


def write(file: Path, text: str, modified_ns: int = OLD_NS) -> None:
    """Write a file in place, with a time of modification that is not recent."""
    file.write_text(text)
    os.utime(file, ns=(modified_ns, modified_ns))


def test_unchanged(tmp_path: Path) -> None:
    """A file that has not changed for a while is not read again."""
    reads: list[str] = []
    file = tmp_path / "number"
    write(file, "1")
    number = WatchedFiles([file], lambda: reads.append(file.read_text()), OutageLog("reading a number"))

    assert not number.refresh()
    assert reads == ["1"]


@pytest.mark.parametrize("way", ["in place", "by a rename", "by a symbolic link"])
def test_changed(tmp_path: Path, way: str) -> None:
    """A change is found once: in place, by a rename, and by a symbolic link in its folder as with Kubernetes."""
    file, old, new = tmp_path / "current" / "number", tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (tmp_path / "current").symlink_to(old)
    write(old / "number", "1")
    write(new / "number", "2")
    number = watched(file)

    if way == "in place":
        write(file, "2", OLD_NS + 1)
    elif way == "by a rename":
        (new / "number").replace(file)
    else:
        (tmp_path / "link").symlink_to(new)
        (tmp_path / "link").replace(tmp_path / "current")

    assert number.refresh()
    assert number.value == 2
    assert not number.refresh()


def test_changed_within_a_tick(tmp_path: Path) -> None:
    """A change that leaves size and time as they were is found when it comes soon after the file was read."""
    file, now = tmp_path / "number", time.time_ns()
    write(file, "1", now)
    number = watched(file)

    write(file, "2", now)

    assert number.refresh()
    assert number.value == 2


def test_unusable(tmp_path: Path) -> None:
    """While the content cannot be used the last good value stays, and one outage is logged, with its end."""
    file = tmp_path / "number"
    write(file, "1")
    number = watched(file)

    with capture_logs() as lines:
        write(file, "half", OLD_NS + 1)
        assert not number.refresh()
        assert not number.refresh()
        file.unlink()
        assert not number.refresh()
        assert number.value == 1
        write(file, "2", OLD_NS + 2)
        assert number.refresh()

    assert number.value == 2
    assert [line["event"] for line in lines] == [
        "reading a number failed, retrying",
        "reading a number failed, retrying",
        "reading a number works again",
    ]
    assert [line["failures"] for line in lines if "works again" in line["event"]] == [3]


def test_usable_later(tmp_path: Path) -> None:
    """What becomes usable without a change, as a certificate by the clock, is taken then."""
    file, problems = tmp_path / "number", ["not yet"]
    write(file, "1")
    number = watched(file)

    def read() -> int:
        if problems:
            raise ValueError(problems[0])
        return int(file.read_text())

    number._read = read
    write(file, "2", OLD_NS + 1)
    assert not number.refresh()
    problems.clear()

    assert number.refresh()
    assert number.value == 2


def test_changes_while_read(tmp_path: Path) -> None:
    """What was read of a file that changed meanwhile is not used."""
    file = tmp_path / "number"
    write(file, "1")
    number = watched(file)

    def read() -> int:
        write(file, "3", OLD_NS + 2)
        return 13

    read_again, number._read = number._read, read
    write(file, "2", OLD_NS + 1)
    assert not number.refresh()
    number._read = read_again

    assert number.refresh()
    assert number.value == 3


def test_unusable_at_first(tmp_path: Path) -> None:
    """At the start the reason is raised."""
    with pytest.raises(OSError, match="No such file"):
        watched(tmp_path / "missing")
