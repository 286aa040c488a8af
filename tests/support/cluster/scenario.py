"""One scenario on the running cluster: a load of its own, a fault, and a verdict.

    with scenarios.run("kill -9 a replica") as scenario:
        scenario.begin()
        cluster.kill("clickhouse-1-2")
        scenario.watch.await_flow(...)
        scenario.heal("clickhouse-1-2")

It begins with a healthy cluster, and ends once everything that was sent is stored on a healthy cluster again. Then
every acknowledged event must be a row, none two, and neither `ugc-audit` nor the view `conservation` may show more
breaches than before.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from db.audit import audit
from db.settings import AuditSettings
from local.processes.program import Child, Program, last_lines
from local.settings import ROOT
from tests.support.cluster.cluster import GROUP, TOPIC, Cluster
from tests.support.cluster.health import await_healthy
from tests.support.cluster.layout import CLICKHOUSE, INGEST
from tests.support.cluster.queries import any_rows
from tests.support.cluster.results import Result, record
from tests.support.cluster.watch import LATE_SECONDS, Watch
from tests.support.faults.oracle import Verdict, judge
from tests.support.load.ledger import Ledger, read_ledger
from tests.support.processes.system import await_equal

PER_SECOND = 200.0
CLIENTS, BATCH = 4, 25
LOAD_SECONDS_MAX = 900.0
EVENTS_MAX = int(PER_SECOND * LOAD_SECONDS_MAX)
ACKNOWLEDGED_BEFORE = 500
AUDIT_SECONDS = 60.0
LOAD_END_SECONDS_MAX = 60.0
FAILURE_CHARACTERS_MAX = 500
STORED = """
SELECT concat(toString(event_id), ' ', toString(user_id)), count() FROM events_all
WHERE received_at >= fromUnixTimestamp64Milli({since}) GROUP BY event_id, user_id
"""
CONSERVATION = "SELECT sum(missing), sum(repeated) FROM conservation"
MILLISECONDS = 1_000


@dataclass
class Scenario:
    """A running scenario: its load, and when its fault began and ended."""

    name: str
    cluster: Cluster
    watch: Watch
    ledger_file: Path
    load: Child
    before: Sequence[str]
    started: float = field(default_factory=time.time)
    fault: float = field(default_factory=time.time)
    healed: float | None = None

    @property
    def ledger(self) -> Ledger:
        """What the clients have recorded so far."""
        return read_ledger(self.ledger_file)

    def begin(self) -> None:
        """Note the moment of the fault."""
        self.fault = time.time()

    def heal(self, *names: str) -> None:
        """Start members again, or let frozen ones continue, and note the moment at which that began."""
        self.healed = time.time()
        frozen = [name for name in names if self.cluster.is_running(name)]
        self.cluster.thaw(*frozen)
        self.cluster.start(*(name for name in names if name not in frozen))

    def await_acknowledged(self, more: int = ACKNOWLEDGED_BEFORE) -> None:
        """Wait until so many more events are acknowledged."""
        wanted = len(self.ledger.acknowledged) + more
        await_equal(lambda: self._is_over() or len(self.ledger.acknowledged) >= wanted, wanted=True)
        assert not self._is_over(), last_lines(self.load.program.log)

    def _is_over(self) -> bool:
        return self.load.process.poll() is not None

    def end_load(self) -> None:
        """Stop the clients after their current calls; their exit status must be 0."""
        self.load.process.terminate()
        self.load.process.wait(LOAD_END_SECONDS_MAX)
        assert self.load.process.returncode == 0, last_lines(self.load.program.log)

    def verdict(self) -> Verdict:
        """Judge what is stored of this scenario's load."""
        ledger = self.ledger
        found = any_rows(
            self.cluster.layout.of(CLICKHOUSE), STORED.format(since=int((self.started - LATE_SECONDS) * MILLISECONDS))
        )
        # Rows of an earlier load may arrive late: an ingest that was frozen held them.
        stored = {identity: int(count) for identity, count in found if identity in ledger.sent}
        return judge(ledger, stored, sorted(set(breaches(self.cluster)) - set(self.before)))

    def result(self, verdict: Verdict | None, failure: str = "") -> Result:
        """Return the line of the table."""
        ledger = self.ledger
        moments = sorted([*{at for at in ledger.acknowledged.values() if at >= self.fault}])
        silences = [later - earlier for earlier, later in zip([self.fault, *moments], moments, strict=False)]
        return Result(
            scenario=self.name,
            acknowledged=len(ledger.acknowledged),
            lost=len(verdict.lost) if verdict else -1,
            doubled=len(verdict.doubled) if verdict else -1,
            failed_calls=len(ledger.errors),
            error_seconds=round(ledger.error_seconds, 1),
            silent_seconds=round(max(silences, default=0.0), 1),
            late_until_seconds=rounded(self.watch.late_until(self.fault)),
            worst_delay_seconds=round(self.watch.worst(self.fault), 1),
            heal_seconds=rounded(self.healed and self.healed - self.fault),
            breaches=tuple(verdict.breaches) if verdict else (),
            failure=failure[:FAILURE_CHARACTERS_MAX],
        )


def rounded(seconds: float | None) -> float | None:
    """Return seconds with one digit."""
    return None if seconds is None else round(seconds, 1)


@contextlib.contextmanager
def scenario(cluster: Cluster, watch: Watch, name: str) -> Iterator[Scenario]:
    """Run a scenario under a load, judge it when the context ends, and record its result."""
    cluster.heal()
    await_healthy(cluster)
    number = len(list(cluster.folder.glob("ledger-*.jsonl")))
    file = cluster.folder / f"ledger-{number}.jsonl"
    load = Child(load_program(cluster, file, number))
    running = Scenario(name, cluster, watch, file, load, breaches(cluster))
    try:
        running.await_acknowledged()
        # The watch has then seen rows of every partition.
        watch.await_flow()
        running.begin()
        yield running
        watch.await_flow()
        running.end_load()
        await_healthy(cluster)
        verdict = running.verdict()
    except Exception as error:
        record(running.result(None, f"{type(error).__name__}: {error}"))
        raise
    finally:
        load.kill()
    record(running.result(verdict))
    assert verdict.clean, str(verdict)
    assert verdict.acknowledged


def load_program(cluster: Cluster, ledger: Path, seed: int) -> Program:
    """Return the clients, which send through the gateway and retry each event until it is acknowledged."""
    options = {
        "ingest": cluster.layout.of(INGEST)[0].address("serve"),
        "gateway": cluster.gateway,
        "rest-share": 1.0,
        "ledger": ledger,
        "seed": seed,
        "events": EVENTS_MAX,
        "per-second": PER_SECOND,
        "seconds-max": LOAD_SECONDS_MAX,
        "clients": CLIENTS,
        "batch": BATCH,
    }
    arguments = (f"--{name}={value}" for name, value in options.items())
    return Program(
        f"load-{seed}",
        (sys.executable, "-m", "tests.support.load.generator", *arguments),
        log=cluster.folder / f"load-{seed}.log",
        directory=ROOT,
    )


def breaches(cluster: Cluster) -> list[str]:
    """Return what `ugc-audit` reports, and what the view `conservation` shows, of a cluster without a load."""
    replica = cluster.layout.of(CLICKHOUSE)[0]
    settings = AuditSettings(
        kafka_bootstrap_servers=cluster.layout.bootstrap,
        kafka_topic=TOPIC,
        clickhouse_url=cluster.url(replica.name),
        clickhouse_cluster="ugc",
        etl_group=GROUP,
    )
    report = audit(settings, AUDIT_SECONDS)
    ((missing, repeated),) = any_rows([replica], CONSERVATION)
    found = [str(breach) for breach in report.breaches] + list(report.unsettled)
    return [*found, *([f"conservation: {missing} missing, {repeated} repeated"] * (missing != "0" or repeated != "0"))]
