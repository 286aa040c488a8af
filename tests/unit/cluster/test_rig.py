"""The parts of the cluster's tests that need no server: configuration, what is late, results, patches."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.table import page
from tests.support.cluster.clickhouse import PRODUCT, with_endpoints
from tests.support.cluster.cluster import Cluster, delete_data
from tests.support.cluster.layout import make_layout
from tests.support.cluster.library_patches import PatchError, build_id, relative, short_string
from tests.support.cluster.results import Result, read, record
from tests.support.cluster.watch import Sample, Watch, delays
from tests.support.load.ledger import LedgerWriter, read_ledger

RESULT = Result("kill -9 a broker", 1_200, 0, 0, 3, 2.5, 1.5, 9.0, 9.5, 4.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return a cluster that does not run."""
    ports = itertools.count(20_000)
    return Cluster(make_layout(lambda: next(ports)), tmp_path)


def test_configuration_of_replicas(cluster: Cluster) -> None:
    """Every server and keeper of the product's file is one of this machine, and nothing else is changed."""
    text = (PRODUCT / "server.xml").read_text(encoding="utf-8")
    here = with_endpoints(text, cluster.endpoints())
    root = ET.fromstring(here)  # noqa: S314 -- a file of this repository
    ports = {int(str(each.text)) for each in root.iter("port")}
    changed = [new for old, new in zip(text.splitlines(), here.splitlines(), strict=True) if old != new]

    assert {each.text for each in root.iter("host")} == {"127.0.0.1"}
    assert ports == {int(each.rpartition(":")[2]) for each in cluster.endpoints().values()}
    assert all("<host>" in each or "<port>" in each for each in changed)


def test_delays() -> None:
    """A partition's delay is the time since its log grew beyond what is stored."""
    history = [(10.0, {0: 5, 1: 5}), (11.0, {0: 9, 1: 5}), (12.0, {0: 9, 1: 7})]

    assert delays(history, {0: 4, 1: 6}, 13.0) == {0: 2.0, 1: 0.0}
    assert delays(history, {0: 8}, 13.0) == {0: 0.0, 1: 3.0}
    assert delays([], {}, 13.0) == {}


def test_late_rows(cluster: Cluster) -> None:
    """Rows are late until the last sample with an old message, counted from the fault."""
    watch = Watch(cluster)
    watch.samples = [Sample(at, {0: delay}) for at, delay in ((1.0, 9.0), (2.0, 1.0), (3.0, 7.0), (4.0, 2.0))]

    assert watch.late_until(2.0) == 1.0
    assert watch.worst(2.0) == 7.0
    assert watch.late_until(3.5) is None


def test_partitions_of_a_shard(cluster: Cluster) -> None:
    """A partition belongs to the shard that has its newest rows."""
    watch = Watch(cluster)
    watch.held = {"clickhouse-1-1": {0: 5, 1: 3}, "clickhouse-1-2": {0: 7}, "clickhouse-2-1": {0: 6, 1: 4}}

    assert (watch.partitions_of(1), watch.partitions_of(2)) == ([0], [1])


def test_error_seconds(tmp_path: Path) -> None:
    """Client errors last from the beginning of the first failed call to the end of the last."""
    file = tmp_path / "ledger.jsonl"
    writer = LedgerWriter(file)
    writer.sent(["a"])
    assert read_ledger(file).error_seconds == 0
    writer.unacknowledged(100.0, 1)
    writer.unacknowledged(200.0, 1)
    writer.close()
    ledger = read_ledger(file)

    assert [begin for begin, _ in ledger.errors] == [100.0, 200.0]
    assert ledger.error_seconds == ledger.errors[1][1] - 100.0


def test_results(tmp_path: Path) -> None:
    """Results are read as they were recorded."""
    file = tmp_path / "results.jsonl"
    assert list(read(file)) == []
    record(RESULT, file)

    assert list(read(file)) == [RESULT]


def test_table() -> None:
    """The page has a line for each scenario, their sum, and why a scenario failed."""
    failed = Result("frozen", 300, -1, -1, 9, 30.0, 30.0, None, 30.0, None, (), "AssertionError: no\nmore")
    text = page([replace(RESULT, acknowledged=1), RESULT, failed])

    assert "| kill -9 a broker | 1,200 | 0 | 0 | 3 | 2.5 | 1.5 | 4 | 9 |\n" in text
    assert "| frozen | 300 | not judged | not judged | 9 | 30 | 30 | - | - |\n" in text
    assert "| **all** | **1,500** | **0** | **0** | **12** |" in text
    assert text.endswith("- frozen: AssertionError: no\n")


def test_data_are_deleted(tmp_path: Path) -> None:
    """After a run only the logs of the members are left."""
    for name in ("kafka-1/kafka.log", "kafka-1/data/topic-0/0.log", "kafka-1/server.properties", "ledger-0.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    delete_data(tmp_path)

    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["kafka-1", "kafka-1/kafka.log"]


def test_another_build_is_recognized(tmp_path: Path) -> None:
    """The build of a library is in its header; a file without one has none."""
    library = tmp_path / "library.so"
    library.write_bytes(b"\x7fELF" + bytes(60) + b"GNU\0" + bytes(range(20)) + b"more")
    assert build_id(library) == bytes(range(20)).hex()
    library.write_bytes(b"\x7fELF")
    assert build_id(library) == ""


def test_code_of_patches() -> None:
    """Operands are relative to the end of their instruction, and only short strings are short."""
    assert relative(b"\xe9", 0x100, 5, 0x200) == b"\xe9\xfb\0\0\0"
    assert short_string("http") == b"http".ljust(23, b"\0") + b"\4"
    with pytest.raises(PatchError, match="longer than 22"):
        short_string("x" * 23)
