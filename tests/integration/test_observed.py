"""The real system, a real Prometheus with the committed rules, and every query of the dashboards.

Prometheus scrapes each second. The rules are also loaded in a short form, with shorter windows and waits and lower
thresholds, so that a test sees them fire.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.observing.files import CLICKHOUSE, PROMETHEUS, PanelQuery, panel_queries
from tests.support.observing.prometheus import SHORT_ALERT
from tests.support.observing.system import DATABASE, PASSWORD, PROCESSES, Observed, observed
from tests.support.processes.management import page
from tests.support.processes.system import ask, await_equal

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed: it is in Debian's package prometheus"
)
SECONDS_MAX = 150.0
LOOK_BACK = "150s"
# Panels without a series in this system, each with the reason.
EMPTY = {"promise: Certificates": "the processes have no TLS"}
# Panels that may be 0 in a healthy system, or without a series.
AT_REST = {
    "promise: Messages that are not rows yet",
    "promise: Recoveries and fenced inserts",
    "promise: Lost spans",
    "saturation: Calls that another replica got",
    "saturation: Delay by quotas",
    "saturation: Events shed",
    "saturation: Rebalances",
    "saturation: Requests sent again, and without a response",
    "saturation: Requests shed",
    "data: Authentication",
}
# Those that move when Kafka does not answer: what waits for it, and what fails.
MOVED_BY_KAFKA = {
    "promise: Failed, last 5 minutes",
    "promise: Failed, last 3 days",
    "promise: Failed share of events",
    "saturation: Calls that failed",
    "saturation: Errors of the client",
    "saturation: Events in flight",
    "saturation: Limits of ingest",
    "saturation: Limits of the gateway",
}
AGE = "ugc:complete_through_age_seconds:max"
# What the plug-in puts in place of its macros.
MACROS = {
    r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 10 second)",
    r"\$__timeFilter\((\w+)\)": r"\1 >= toDateTime(now() - 3600) AND \1 <= toDateTime(now() + 60)",
    r"\$\{events\}": "events",
    r"\$\{rejected\}": "rejected_events",
}
QUERIES = [query for query in panel_queries() if query.kind == PROMETHEUS]
TABLES = [query for query in panel_queries() if query.kind == CLICKHOUSE]


@pytest.fixture(scope="module")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Run the system with its load, until the last test of this file has ended."""
    with observed(tmp_path_factory.mktemp("observed")) as started:
        yield started


@pytest.fixture
def system(running_system: Observed) -> Observed:
    """Return the system in health, whatever the test before has broken."""
    running_system.heal()
    return running_system


def at_rest(system: Observed, queries: list[PanelQuery]) -> list[str]:
    """Return the queries that have had no value above 0 in the last minutes."""
    found = {each: system.prometheus.largest(f"max_over_time(({each.text})[{LOOK_BACK}:1s])") for each in queries}
    return [f"{each.place}: {each.text}" for each, value in found.items() if not value > 0]


def await_alerts(system: Observed, *names: str) -> None:
    """Wait until alerts fire."""
    await_equal(lambda: set(names) - system.prometheus.alerts("firing"), set(), SECONDS_MAX)


def await_silence(system: Observed, *names: str) -> None:
    """Wait until the system loads, and alerts are neither pending nor firing."""
    # Before it has joined the group, an etl has no freshness that trouble could change.
    await_equal(lambda: system.prometheus.largest(AGE) > -math.inf, wanted=True, seconds_max=SECONDS_MAX)
    active = lambda: set(names) & (system.prometheus.alerts("firing") | system.prometheus.alerts("pending"))  # noqa: E731 -- read below
    await_equal(active, set(), SECONDS_MAX)


def test_every_panel_answers(system: Observed) -> None:
    """Under load each query of each panel has a value above 0, except those that only trouble moves."""
    system.write_garbage()
    moved = [each for each in QUERIES if each.place not in EMPTY.keys() | AT_REST | MOVED_BY_KAFKA]

    await_equal(lambda: at_rest(system, moved), [], SECONDS_MAX)
    assert [each.place for each in QUERIES if each.place in EMPTY and system.prometheus.query(each.text)] == []


def test_every_table_answers(system: Observed) -> None:
    """Each query to ClickHouse has rows, for the user of Grafana's data source, who can only read."""
    system.write_garbage()

    assert TABLES
    await_equal(lambda: [each.place for each in TABLES if not ask_clickhouse(system, each.text)[1]], [], SECONDS_MAX)
    assert ask_clickhouse(system, "SELECT count() FROM ${events}")[0] == 200
    assert "ACCESS_DENIED" in ask_clickhouse(system, "SELECT * FROM system.query_log LIMIT 1")[1]
    for change in ("DROP TABLE ${events}", "INSERT INTO ${rejected} (reason) VALUES ('x')"):
        assert re.search("ACCESS_DENIED|READONLY", ask_clickhouse(system, change)[1])


def test_the_exposition(system: Observed) -> None:
    """Names, types and help texts of what each process exposes follow the conventions of Prometheus."""
    for process in PROCESSES:
        status, text = page(system.management[process], "/metrics")
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
        )

        assert (status, done.returncode, done.stdout + done.stderr) == (200, 0, ""), process


def test_alerts_on_data(system: Observed) -> None:
    """Every rule is evaluated, and the committed alerts on refused rows and on messages that are not events fire."""
    system.write_garbage()

    await_alerts(system, "UgcRowsRefused", "UgcMessagesUndecodable")
    await_equal(lambda: {*system.prometheus.health().values()}, {"ok", "unknown"}, SECONDS_MAX)
    unknown = {name for name, health in system.prometheus.health().items() if health == "unknown"}
    # Evaluated every ten minutes; its short form is evaluated each second.
    assert unknown <= {"UgcRetentionHalfUsed"}


def test_kafka_that_does_not_answer(system: Observed) -> None:
    """A frozen Kafka shows in what fails, what waits, and in freshness; alerts fire, and end when it answers again."""
    alerts = [
        SHORT_ALERT + name
        for name in ("UgcErrorBudgetBurnsFast", "UgcNotFresh", "UgcKafkaUnreachable", "UgcGatewayWithoutIngest")
    ]
    await_silence(system, *alerts[1:])
    system.parts["kafka"].freeze()

    await_alerts(system, *alerts)
    moved = [each for each in QUERIES if each.place in MOVED_BY_KAFKA]
    await_equal(lambda: at_rest(system, moved), [], SECONDS_MAX)
    first = system.prometheus.largest(AGE)
    await_equal(lambda: system.prometheus.largest(AGE) > first + 5, wanted=True, seconds_max=SECONDS_MAX)
    system.parts["kafka"].thaw()

    await_silence(system, *alerts[1:])
    await_equal(lambda: system.prometheus.largest(AGE) < first, wanted=True, seconds_max=SECONDS_MAX)


def test_clickhouse_that_does_not_answer(system: Observed) -> None:
    """A killed ClickHouse shows in freshness alone: events are accepted as before."""
    names = {SHORT_ALERT + name for name in ("UgcNotFresh", "UgcErrorBudgetBurnsFast", "UgcKafkaUnreachable")}
    await_silence(system, *names)
    system.parts["clickhouse"].kill()
    await_alerts(system, SHORT_ALERT + "UgcNotFresh")

    assert names & system.prometheus.alerts("firing") == {SHORT_ALERT + "UgcNotFresh"}
    assert system.prometheus.largest('rate(ugc_ingest_events_total{outcome="accepted"}[10s])') > 0
    system.parts["clickhouse"].start()
    await_silence(system, *names)


@pytest.mark.parametrize(
    ("process", "alert"), [("ingest", "UgcIngestAbsent"), ("gateway", "UgcGatewayAbsent"), ("etl", "UgcEtlAbsent")]
)
def test_killed(system: Observed, process: str, alert: str) -> None:
    """The kill of a process is an alert until the process runs again."""
    name = SHORT_ALERT + alert
    await_silence(system, name)
    system.parts[process].kill()
    await_alerts(system, name)
    system.parts[process].start()

    await_silence(system, name)


def test_recovery(system: Observed) -> None:
    """A batch of an etl that is killed after an insert is recovered by the next one: on a panel, and a ticket."""
    system.parts["etl"].end()
    dying = system.start_etl("after-data:kill@1")
    await_equal(lambda: dying.is_running, wanted=False)
    # The start of a process is known to a second.
    killed = time.time() - 2
    system.start_etl()
    query = next(each.text for each in QUERIES if "ugc_etl_recoveries_total" in each.text)
    recovered = f"ugc_etl_recoveries_total and on (job, instance) process_start_time_seconds >= {killed:.1f}"

    await_equal(lambda: system.prometheus.largest(recovered) > 0, wanted=True, seconds_max=SECONDS_MAX)
    await_alerts(system, "UgcRecoveries")
    assert system.prometheus.query(query)


def ask_clickhouse(system: Observed, query: str) -> tuple[int, str]:
    """Return status and answer to a query of Grafana's user, as the data source sends it."""
    for macro, replacement in MACROS.items():
        query = re.sub(macro, replacement, query)
    options = {"database": DATABASE, "user": "grafana", "password": PASSWORD, "max_execution_time": "30"}
    url = f"http://127.0.0.1:{system.clickhouse_http}/?{urllib.parse.urlencode(options)}"
    # By POST: a GET could not write, whoever sends it.
    status, body = ask(urllib.request.Request(url, data=query.encode()))
    return status, body.decode()
