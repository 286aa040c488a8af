"""Values that are not an EventRecord are found one by one, and none of them can crash the process."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from etl.events.parsing import RECURSIVE_BYTES_MAX, parse
from services.ingest.events.wire import varint
from tests.support.inputs.events import numbered, record, valid

# Decodes records that end with nested groups: as many tags as the arguments give, with and without end tags.
PROGRAM = """
import sys
from etl.events.parsing import parse
from tests.support.inputs.events import numbered, record
good = record(numbered(1))
for count in map(int, sys.argv[1:]):
    for start, end in ((b"\\x0b", b""), (b"\\x0b", b"\\x0c"), (b"\\xa3\\x06", b"\\xa4\\x06")):
        for body in (good + start * count + end * count, start * count + end * count + good):
            table, faults = parse([good, body, good])
            assert table.num_rows + len(faults) == 3
            assert set(faults) <= {1}
"""


def test_nested_groups_do_not_crash() -> None:
    """A message with up to 1,000,000 nested groups is a row or a fault, with a stack of 1 MiB."""
    command = f'ulimit -s 1024 && exec {shlex.quote(sys.executable)} -c "$0" "$@"'
    counts = ["1", "100", "101", "8000", "16000", "50000", "120000", "1000000"]
    done = subprocess.run(["bash", "-c", command, PROGRAM, *counts], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("place", [0, 2, 4])
def test_large_messages(place: int) -> None:
    """A large message is a row like any other; a large one that is not valid is found beside small ones."""
    large = record(valid(event_data="x" * RECURSIVE_BYTES_MAX))
    values: list[bytes | None] = [record(numbered(1)), large, record(numbered(2)), large]

    assert parse(values)[1] == {}

    values.insert(place, large + b"\xa3\x06" * 101 + b"\xa4\x06" * 101)
    values += [None, b"garbage", large[:-30]]
    table, faults = parse(values)

    assert sorted(faults) == [place, 5, 6, 7]
    assert f"of {len(large) + 404} bytes" in faults[place]
    assert faults[5] == "the message has no value"
    assert table.num_rows == 4


@pytest.mark.parametrize("field", [b"\x0a", b"\x12", b"\x1a", b"\x0a\x0a", b"\xa2\x06", b"\xa3\x06\xa2\x06"])
def test_immense_lengths(field: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A length that overflows the decoder's position is a fault: some of them make the decoder panic."""
    monkeypatch.setenv("RUST_BACKTRACE", "0")
    good = record(numbered(1))
    for length in (*range(2**64 - 40, 2**64), 2**63 - 1, 2**63, 2**32 - 1, 2**31):
        for bad in (field + varint(length), good + field + varint(length), field + varint(length) + good):
            table, faults = parse([good, bad, good, None])

            assert (table.num_rows, sorted(faults)) == (2, [1, 3])


def test_negative_numbers_of_unknown_fields() -> None:
    """A number with the same bytes as such a length is a row."""
    values = [
        record(numbered(1)) + b"\xa0\x06" + b"\xff" * 9 + b"\x01",
        record(numbered(2)) + b"\x12" + b"\xff" * 9 + b"\x01",
    ]

    assert parse(values[:1])[1] == {}
    assert sorted(parse(values)[1]) == [1]


def test_other_errors_are_raised() -> None:
    """An exception that is not the decoder's is raised."""

    class Stopping(bytes):
        def __len__(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parse([Stopping(b"x")])


def test_nothing() -> None:
    """No messages give no rows."""
    table, faults = parse([])

    assert (table.num_rows, faults) == (0, {})
