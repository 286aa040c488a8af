"""The etl under a ClickHouse user with few grants: only the search for refused events needs those for its probes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from local.clickhouse.server import USERS, clickhouse_program
from local.processes.program import free_port, running
from local.settings import ROOT
from tests.support.inputs.events import numbered
from tests.support.processes.loading import SETTINGS, await_rows, identified, load, offsets, write
from tests.support.processes.system import Place

DATABASE = "restricted"
USER = """<{name}><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
<grants>{grants}</grants></{name}>
"""
WAIT_SECONDS_MAX = 60


def documented() -> list[str]:
    """Return the grants that the README lists."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [grant.replace("ugc.", f"{DATABASE}.") for grant in re.findall(r"^(GRANT .*) TO etl;$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that knows a user with all grants of the README, and one without those for probes."""
    folder, port = tmp_path_factory.mktemp("restricted"), free_port()
    program = clickhouse_program(folder, port, free_port())
    every = documented()
    few = [grant for grant in every if "TABLE" not in grant]
    assert (len(every), len(few)) == (4, 2)
    users = "".join(
        USER.format(name=name, grants="".join(f"<query>{grant}</query>" for grant in grants))
        for name, grants in {"etl": every, "few": few}.items()
    )
    known = (folder / USERS).read_text(encoding="utf-8")
    (folder / USERS).write_text(known.replace("</users>", f"{users}</users>"), encoding="utf-8")
    with running(program):
        yield f"127.0.0.1:{port}/{DATABASE}"


@pytest.fixture
def owned(address: str) -> Iterator[ClickHouse]:
    """Make the tables anew; the value is a connection that may do anything."""
    url = f"clickhouse://default@{address}"
    assert migrate(url)
    with connected(url) as connection:
        yield connection
        connection.rows(f"DROP DATABASE {DATABASE} SYNC")


@pytest.fixture
def place_of(tmp_path: Path, kafka: str, topic: str, address: str) -> Callable[[str], Place]:
    return lambda user: Place(tmp_path, kafka, topic, f"clickhouse://{user}@{address}", dict(SETTINGS))


@pytest.mark.parametrize("user", ["few", "etl"])
def test_events_and_their_copies_need_no_probe(owned: ClickHouse, place_of: Callable[[str], Place], user: str) -> None:
    """A batch without a refused row is stored, repeats set aside, whatever the user may do besides."""
    place = place_of(user)
    values = [identified(numbered(number)) for number in range(20)]
    write(place, [*values, *values[:5]])
    load(place, owned, 25)

    assert offsets(owned) == list(range(20))
    assert offsets(owned, "rejected_events") == list(range(20, 25))


def test_the_documented_grants_suffice(owned: ClickHouse, place_of: Callable[[str], Place]) -> None:
    """With the grants of the README a refused event is found and set aside."""
    owned.rows("ALTER TABLE events ADD COLUMN n UInt8 MATERIALIZED throwIf(event = 'bad')")
    events = [numbered(number) for number in range(20)]
    events[7].payload.event = "bad"
    write(place_of("etl"), map(identified, events))
    load(place_of("etl"), owned, 20)

    assert offsets(owned, "rejected_events") == [7]


def test_the_search_names_the_grants(owned: ClickHouse, place_of: Callable[[str], Place]) -> None:
    """Without the grants the partition with the bad event waits, with the reason in the log; the others go on."""
    place = place_of("few")
    owned.rows("ALTER TABLE events ADD COLUMN n UInt8 MATERIALIZED throwIf(event = 'bad')")
    bad = numbered(0)
    bad.payload.event = "bad"
    write(place, [identified(bad)])
    with running(place.etl()) as child:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while "CREATE ARBITRARY TEMPORARY TABLE" not in child.program.log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        write(place, [identified(numbered(1))], partition=1)
        await_rows(owned, 1)

    assert offsets(owned, "rejected_events") == []
