"""Probes: converts rows as an insert into `events` would, without storing them, to find what ClickHouse refuses.

The rows go to the probe table: a temporary table with the current columns, defaults, materialized expressions and
constraints of `events`. It belongs to the connection and is dropped with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from clickhouse_driver.errors import ServerException

from etl.clickhouse.client import Encoded, InsertClient
from etl.clickhouse.codes import ACCESS_DENIED, QUORUM_ERRORS, SIZE_ERRORS, STATE_ERRORS
from etl.errors import ProbeUnavailableError
from etl.plan import EVENTS, Coordinates

PROBE_TABLE = "ugc_probe"
UNKNOWN_TABLE = 60
# Errors in creating the probe table that may not recur at the next attempt.
TRANSIENT_ERRORS = (STATE_ERRORS.keys() | SIZE_ERRORS.keys() | QUORUM_ERRORS.keys()) - {ACCESS_DENIED}
ENGINE = f"SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{EVENTS}'"  # noqa: S608 -- constants
# The probe table of a replicated table is not replicated.
REPLICATED = re.compile(r"^Replicated(\w*MergeTree)(?:\('[^']*', '[^']*'(?:, )?([^)]*)\))?")
# Rows that `events` accepts unless its expressions expect something else: JSON, numbers, times, nothing, any text.
SYNTHETIC_TEXTS = ("{}", "1", "[]", "2026-01-01 00:00:00", "", "text")
SYNTHETIC = """
INSERT INTO {table} ({names}) SELECT generateUUIDv4(), %(text)s, generateUUIDv4(), generateUUIDv4(), %(text)s, now64(3),
%(text)s, %(text)s, %(text)s, %(text)s, %(text)s, now64(3), {offset}, toUUID('{topic}'), {partition}
"""
# Rows that were stored recently.
STORED_ROWS, STORED_OFFSETS = 5, 10_000
STORED = """
INSERT INTO {table} ({names}) SELECT {names} FROM {events} WHERE kafka_topic_id = '{topic}'
AND kafka_partition = {partition} AND kafka_offset BETWEEN {first} AND {last}
ORDER BY kafka_offset DESC LIMIT 1 OFFSET {number}
"""


class Probing:
    """The probe tables of a connection: a light one, and a thorough one that also computes what parts contain."""

    def __init__(self, client: InsertClient, settings: Mapping[str, object]) -> None:
        self._client = client
        # With deduplication a second probe of the same rows would be accepted unseen.
        self._settings = {**settings, "insert_deduplicate": 0}
        # Whether the probe table is the thorough one; None if there is none.
        self._is_thorough: bool | None = None

    def forget(self) -> None:
        """Create the probe table again for the next probe, because the connection or `events` may have changed."""
        self._is_thorough = None

    def accepts_good_rows(
        self, columns: Sequence[str], events: str, at: Coordinates, before: int, *, thorough: bool
    ) -> bool:
        """Whether the probe table accepts any good row: one stored before an offset, or a synthetic one."""
        names = ", ".join([*columns, "kafka_topic_id", "kafka_partition"])
        values = {
            "table": PROBE_TABLE,
            "names": names,
            "topic": at.topic.identity,
            "partition": at.partition,
            "events": events,
            "offset": before,
            "first": max(0, before - STORED_OFFSETS),
            "last": max(0, before - 1),
        }
        queries = [(SYNTHETIC.format(**values), text) for text in SYNTHETIC_TEXTS]
        queries += [(STORED.format(**values, number=number), "") for number in range(STORED_ROWS)]
        return any(self._is_accepted(query, text, thorough=thorough) for query, text in queries)

    def _is_accepted(self, query: str, text: str, *, thorough: bool) -> bool:
        try:
            self.run(query, {"text": text}, thorough=thorough)
        except ServerException as error:
            if error.code in STATE_ERRORS:
                raise
            return False
        progress = self._client.last_query.progress
        return bool(progress.written_rows)

    def run(self, query: str, data: Encoded | dict[str, str], *, thorough: bool, columnar: bool = False) -> None:
        """Insert into the probe table; ProbeUnavailableError without one, and the driver's errors unchanged."""
        self._client.keeps_connection = True
        try:
            if self._is_thorough is not thorough:
                self._create(thorough=thorough)
            try:
                self._client.execute(query, data, settings=self._settings, columnar=columnar)
            except ServerException as error:
                if error.code != UNKNOWN_TABLE:
                    raise
                # The driver has reconnected, and the probe table was dropped with the old connection.
                self._create(thorough=thorough)
                self._client.execute(query, data, settings=self._settings, columnar=columnar)
        finally:
            self._client.keeps_connection = False

    def _create(self, *, thorough: bool) -> None:
        engine = "Null"
        try:
            if thorough:
                ((full,),) = self._client.execute(ENGINE)
                engine = REPLICATED.sub(r"\1(\2)", full)
            self._client.execute(f"DROP TEMPORARY TABLE IF EXISTS {PROBE_TABLE}")
            self._client.execute(f"CREATE TEMPORARY TABLE {PROBE_TABLE} AS {EVENTS} ENGINE = {engine}")
        except ServerException as error:
            if error.code in TRANSIENT_ERRORS:
                raise
            reason = str(error).partition("Stack trace")[0].strip()
            raise ProbeUnavailableError(
                "rows that ClickHouse refuses cannot be found: its user needs the grants CREATE ARBITRARY TEMPORARY "
                f"TABLE ON *.* and TABLE ENGINE ON *: {reason}"
            ) from error
        self._is_thorough = thorough
