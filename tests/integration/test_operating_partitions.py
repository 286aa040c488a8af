"""The procedure that adds partitions, as docs/operating/capacity.md has it, on a running system."""

from __future__ import annotations

import pytest

from db.clickhouse.client import connected
from local.settings import ROOT
from tests.support.documents.pages import commands
from tests.support.inputs.events import numbered
from tests.support.processes.operated import operated
from tests.support.processes.system import ingest_stub, send_until_accepted

PAGE = ROOT / "docs" / "operating" / "capacity.md"
EVENTS = 60
ROWS = "SELECT count(), uniqExact(event_id) FROM events"


def test_partitions_are_added(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The steps work while ingest and the etl run, and an event that is sent again afterwards stays one row."""
    adding, checking = (each.text for each in commands(PAGE) if each.scenario == "add partitions")
    events = [numbered(number) for number in range(EVENTS)]
    with operated(tmp_path_factory.mktemp("operated")) as system:
        system.start_etl()
        with ingest_stub(system.deployment.ingest_address) as stub:
            send_until_accepted(stub, events)
            assert "recorded in every partition\n" in system.shell(adding)
            send_until_accepted(stub, events)
        assert "clean: every consumed message is one row" in system.shell(checking)
        with connected(system.deployment.database) as connection:
            assert connection.rows(ROWS) == [(EVENTS, EVENTS)]
