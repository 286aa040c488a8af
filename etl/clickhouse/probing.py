"""Converts rows as an insert into `events` would, without storing them: finds out what ClickHouse refuses.

The rows go to a twin: a temporary table with the columns, defaults, materialized expressions and constraints of
`events` as they are at that moment. It belongs to the connection, and is gone with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clickhouse_driver.errors import ServerException

from etl.block import EVENTS, Coordinates
from etl.clickhouse.client import InsertClient
from etl.clickhouse.codes import ACCESS_DENIED, QUORUM_ERRORS, SIZE_ERRORS, STATE_ERRORS
from etl.errors import ProbeUnavailableError

TWIN = "ugc_probe"
UNKNOWN_TABLE = 60
# Of an error in making a twin: it may be another one at the next attempt, whoever asks.
PASSING = (STATE_ERRORS.keys() | SIZE_ERRORS.keys() | QUORUM_ERRORS.keys()) - {ACCESS_DENIED}
ENGINE = f"SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{EVENTS}'"  # noqa: S608 -- constants
# A replicated table's twin is its connection's alone.
REPLICATED = re.compile(r"^Replicated(\w*MergeTree)(?:\('[^']*', '[^']*'(?:, )?([^)]*)\))?")
# Rows that a table of events takes unless its expressions ask for more: JSON, numbers, times, nothing, any text.
SYNTHETIC_TEXTS = ("{}", "1", "[]", "2026-01-01 00:00:00", "", "text")
SYNTHETIC = """
INSERT INTO {twin} ({names}) SELECT generateUUIDv4(), %(text)s, generateUUIDv4(), generateUUIDv4(), %(text)s, now64(3),
%(text)s, %(text)s, %(text)s, %(text)s, %(text)s, now64(3), {offset}, toUUID('{topic}'), {partition}
"""
# Rows that were stored a short while ago.
STORED_ROWS, STORED_OFFSETS = 5, 10_000
STORED = """
INSERT INTO {twin} ({names}) SELECT {names} FROM {events} WHERE kafka_topic_id = '{topic}'
AND kafka_partition = {partition} AND kafka_offset BETWEEN {first} AND {last}
ORDER BY kafka_offset DESC LIMIT 1 OFFSET {number}
"""


class Probing:
    """One connection's twins: a light one, and a thorough one that also computes what a part of the table computes."""

    def __init__(self, client: InsertClient, settings: dict[str, Any]) -> None:
        self._client = client
        # A token would have the second probe of the same rows pass.
        self._settings = {**settings, "insert_deduplicate": 0}
        self._twin: bool | None = None

    def forget(self) -> None:
        """Make the twin anew for the next probe, because the connection or the table may have changed."""
        self._twin = None

    def takes_any(self, columns: Sequence[str], events: str, at: Coordinates, before: int, *, thorough: bool) -> bool:
        """Whether the twin takes any of the rows that are good: stored before an offset, or synthetic ones."""
        place = {"twin": TWIN, "topic": at.topic.identity, "partition": at.partition}
        names = ", ".join([*columns, "kafka_topic_id", "kafka_partition"])
        stored = STORED.format(
            names=names,
            events=events,
            first=max(0, before - STORED_OFFSETS),
            last=max(0, before - 1),
            number="{number}",
            **place,
        )
        queries = [(SYNTHETIC.format(names=names, offset=before, **place), text) for text in SYNTHETIC_TEXTS]
        queries += [(stored.format(number=number), "") for number in range(STORED_ROWS)]
        return any(self._is_taken(query, text, thorough=thorough) for query, text in queries)

    def _is_taken(self, query: str, text: str, *, thorough: bool) -> bool:
        try:
            self.run(query, {"text": text}, thorough=thorough)
        except ServerException as error:
            if error.code in STATE_ERRORS:
                raise
            return False
        progress = self._client.last_query.progress
        return bool(progress.written_rows)

    def run(self, query: str, data: Any, *, thorough: bool, **options: Any) -> None:  # noqa: ANN401 -- the driver's
        """Insert into a twin, ProbeUnavailableError without one; the driver's errors are raised as they are."""
        self._client.outlasts_refusals = True
        try:
            if self._twin is not thorough:
                self._make(thorough=thorough)
            try:
                self._client.execute(query, data, settings=self._settings, **options)
            except ServerException as error:
                if error.code != UNKNOWN_TABLE:
                    raise
                # The connection was made anew since, and the twin went with the old one.
                self._make(thorough=thorough)
                self._client.execute(query, data, settings=self._settings, **options)
        finally:
            self._client.outlasts_refusals = False

    def _make(self, *, thorough: bool) -> None:
        engine = "Null"
        try:
            if thorough:
                ((full,),) = self._client.execute(ENGINE)
                engine = REPLICATED.sub(r"\1(\2)", full)
            self._client.execute(f"DROP TEMPORARY TABLE IF EXISTS {TWIN}")
            self._client.execute(f"CREATE TEMPORARY TABLE {TWIN} AS {EVENTS} ENGINE = {engine}")
        except ServerException as error:
            if error.code in PASSING:
                raise
            reason = str(error).partition("Stack trace")[0].strip()
            raise ProbeUnavailableError(
                "rows that ClickHouse refuses cannot be sought: its user needs the grants CREATE ARBITRARY TEMPORARY "
                f"TABLE ON *.* and TABLE ENGINE ON *: {reason}"
            ) from error
        self._twin = thorough
