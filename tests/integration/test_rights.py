"""The etl with a ClickHouse user with few grants: only the search for refused events needs grants for probes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.clickhouse.client import ClickHouse, connected
from db.clickhouse.schema import migrate
from local.clickhouse.server import USERS, clickhouse_program
from local.processes.ports import free_port
from local.processes.program import running
from local.settings import ROOT
from tests.support.inputs.events import numbered
from tests.support.processes.clickhouse_files import with_pieces
from tests.support.processes.loading import SETTINGS, await_rows, identified, load, offsets, write
from tests.support.processes.system import Deployment

DATABASE = "restricted"
USER = """<{name}><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
<grants>{grants}</grants></{name}>
"""
WAIT_SECONDS_MAX = 60


def documented() -> list[str]:
    """Return the grants that the documentation lists."""
    text = (ROOT / "docs" / "how-to" / "limit-database-rights.md").read_text(encoding="utf-8")
    return [grant.replace("ugc.", f"{DATABASE}.") for grant in re.findall(r"^(GRANT .*) TO etl;$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server with a user that has all documented grants, and one without those for probes."""
    folder, port = tmp_path_factory.mktemp("restricted"), free_port()
    program = clickhouse_program(folder, port, free_port())
    every = documented()
    few = [grant for grant in every if "TABLE" not in grant]
    assert (len(every), len(few)) == (5, 3)
    users = "".join(
        USER.format(name=name, grants="".join(f"<query>{grant}</query>" for grant in grants))
        for name, grants in {"etl": every, "few": few}.items()
    )
    with running(with_pieces(program, {USERS: users})):
        yield f"127.0.0.1:{port}/{DATABASE}"


@pytest.fixture
def owned(address: str) -> Iterator[ClickHouse]:
    """Create the tables again; the value is an administrator's connection."""
    url = f"clickhouse://default@{address}"
    assert migrate(url)
    with connected(url) as connection:
        yield connection
        connection.rows(f"DROP DATABASE {DATABASE} SYNC")


@pytest.fixture
def deployment_for(tmp_path: Path, kafka: str, topic: str, address: str) -> Callable[[str], Deployment]:
    return lambda user: Deployment(tmp_path, kafka, topic, f"clickhouse://{user}@{address}", dict(SETTINGS))


@pytest.mark.parametrize("user", ["few", "etl"])
def test_events_and_their_copies_need_no_probe(
    owned: ClickHouse, deployment_for: Callable[[str], Deployment], user: str
) -> None:
    """A batch without a refused row is stored, and its duplicates are rejected, also without grants for probes."""
    deployment = deployment_for(user)
    values = [identified(numbered(number)) for number in range(20)]
    write(deployment, [*values, *values[:5]])
    load(deployment, owned, 25)

    assert offsets(owned) == list(range(20))
    assert offsets(owned, "rejected_events") == list(range(20, 25))


def test_the_documented_grants_suffice(owned: ClickHouse, deployment_for: Callable[[str], Deployment]) -> None:
    """With the documented grants a refused event is found and rejected."""
    owned.rows("ALTER TABLE events ADD COLUMN n UInt8 MATERIALIZED throwIf(event = 'bad')")
    events = [numbered(number) for number in range(20)]
    events[7].payload.event = "bad"
    write(deployment_for("etl"), map(identified, events))
    load(deployment_for("etl"), owned, 20)

    assert offsets(owned, "rejected_events") == [7]


def test_the_search_names_the_grants(owned: ClickHouse, deployment_for: Callable[[str], Deployment]) -> None:
    """Without the grants the partition with the bad event waits, and logs the reason; the others continue."""
    deployment = deployment_for("few")
    owned.rows("ALTER TABLE events ADD COLUMN n UInt8 MATERIALIZED throwIf(event = 'bad')")
    bad = numbered(0)
    bad.payload.event = "bad"
    write(deployment, [identified(bad)])
    with running(deployment.etl()) as child:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while "CREATE ARBITRARY TEMPORARY TABLE" not in child.program.log.read_text(encoding="utf-8"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        write(deployment, [identified(numbered(1))], partition=1)
        await_rows(owned, 1)

    assert offsets(owned, "rejected_events") == []
