"""Judges a fault run: acknowledged events are stored, stored events were sent, none twice, and the audit is clean.

`judge` is pure: it compares the clients' ledger with ClickHouse's rows. A recreated topic has lost acknowledged events
that were not loaded yet; `Recreation` decides which events that excuses:

* an event acknowledged before the deletion began may be lost with the topic, but not stored twice;
* an event whose sending overlaps the recreation may be in both topics, and stored once from each;
* an event first sent after the recreation must be stored exactly once.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from db.audit import audit
from db.clickhouse.client import ClickHouse
from db.settings import AuditSettings
from tests.support.load.ledger import Ledger
from tests.support.processes.system import Deployment

SHOWN_MAX = 5


@dataclass(frozen=True)
class Recreation:
    """When the deletion of the topic was requested, and when the new topic existed; Unix time in seconds."""

    began: float
    ended: float

    def may_lose(self, first_sent: float) -> bool:
        """Whether an event may have been lost with the old topic."""
        return first_sent <= self.ended

    def may_double(self, first_sent: float, acknowledged: float | None) -> bool:
        """Whether an event may have been written to both topics."""
        return first_sent <= self.ended and (acknowledged is None or acknowledged >= self.began)


@dataclass(frozen=True)
class Verdict:
    """The result; `lost`, `doubled` and `strangers` (never sent) are identities, `breaches` the texts of the audit."""

    sent: int
    acknowledged: int
    stored: int
    lost: Sequence[str] = ()
    doubled: Sequence[str] = ()
    strangers: Sequence[str] = ()
    excused: int = 0
    breaches: Sequence[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.strangers or self.breaches)

    def __str__(self) -> str:
        wrong = {name: list(getattr(self, name)) for name in ("lost", "doubled", "strangers", "breaches")}
        return "; ".join(
            [f"sent {self.sent}, acknowledged {self.acknowledged}, stored {self.stored}"]
            + [f"{name} {len(each)}: {', '.join(each[:SHOWN_MAX])}" for name, each in wrong.items() if each]
        )


def judge(
    ledger: Ledger, stored: Mapping[str, int], breaches: Sequence[str] = (), recreation: Recreation | None = None
) -> Verdict:
    """Compare a client's ledger with the number of rows of each identity in `events`."""
    lost = {identity for identity in ledger.acknowledged if identity not in stored}
    doubled = {identity for identity, rows in stored.items() if rows > 1}
    excused: set[str] = set()
    if recreation:
        excused = {each for each in lost if recreation.may_lose(ledger.sent[each])}
        excused |= {
            each
            for each in doubled & ledger.sent.keys()
            if stored[each] == 2 and recreation.may_double(ledger.sent[each], ledger.acknowledged.get(each))
        }
    return Verdict(
        sent=len(ledger.sent),
        acknowledged=len(ledger.acknowledged),
        stored=len(stored),
        lost=sorted(lost - excused),
        doubled=sorted(doubled - excused),
        strangers=sorted(stored.keys() - ledger.sent.keys()),
        excused=len(excused),
        breaches=breaches,
    )


def stored_events(tables: ClickHouse) -> Counter[str]:
    """Return the number of rows of each identity, in the ledger's form."""
    query = "SELECT concat(toString(event_id), ' ', toString(user_id)), count() FROM events GROUP BY event_id, user_id"
    return Counter(dict(tables.rows(query)))


def loaded(tables: ClickHouse, topic_id: uuid.UUID) -> dict[int, int]:
    """Return the number of different offsets of each partition of a topic in both tables."""
    both = " UNION ALL ".join(
        f"SELECT kafka_partition, kafka_offset FROM {table} WHERE kafka_topic_id = %(topic)s"
        for table in ("events", "rejected_events")
    )
    counts = f"SELECT kafka_partition, uniqExact(kafka_offset) FROM ({both}) GROUP BY 1"
    return dict(tables.rows(counts, {"topic": topic_id}))


def breaches(deployment: Deployment) -> list[str]:
    """Return the breaches that `ugc-audit` reports, and the lag, which must be 0."""
    settings = AuditSettings(
        kafka_bootstrap_servers=deployment.kafka,
        kafka_topic=deployment.topic,
        clickhouse_url=deployment.database,
        etl_group=deployment.group,
    )
    report = audit(settings)
    found = [str(breach) for breach in report.breaches]
    return [*found, f"lag {report.lag}"] if report.lag else found
