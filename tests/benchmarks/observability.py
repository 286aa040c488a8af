"""Measures what metrics cost: counting a call, a scrape of each process, and the whole chain with and without scrapes.

The cost of counting is too small to be seen in the CPU of whole processes, so it is measured alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.rpc.code_pb2 import OK

from local.processes.ports import free_port
from services.ingest.metrics import IngestMetrics
from tests.support.benchmarks.chain import Chain, running_chain
from tests.support.benchmarks.cpu import cpu_time, cpu_times
from tests.support.benchmarks.report import THIS_PROJECT, Comparison, Figure, Run
from tests.support.benchmarks.rows import ROWS, Row
from tests.support.benchmarks.samples import medians
from tests.support.benchmarks.systems import UNHURRIED
from tests.support.benchmarks.tables import show
from tests.support.load.worker import Generator, Load

PROCESSES = ("ingest", "gateway", "etl")
LOADS = ("rest-one", "rest-batch", "grpc-one")
# What Prometheus asks for.
ACCEPT = {"Accept": "application/openmetrics-text;version=1.0.0"}
SCRAPES = 100
SCRAPE_SECONDS = 1.0
ANSWER_SECONDS_MAX = 10.0
CALLS = 200_000
WARM_SECONDS = 4.0
SCRAPED, ALONE = "a scrape each second", "no scrape"
COUNTING, CPU = "counting a call", "CPU"
# Of the CPU of one core, and of what a call costs.
SHARE_MAX = 0.01
TITLES = {name: ROWS[name].title for name in LOADS} | {
    **{f"scrape-{name}": f"A scrape: {name}" for name in PROCESSES},
    COUNTING: "Counting a call of one event in ingest",
}


def main() -> None:
    """Measure, print, and write the report."""
    options = argparse.ArgumentParser(prog="observability", description="Measures what metrics and scrapes cost.")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0, help="of each load, with and without scrapes")
    options.add_argument("--processes", nargs="+", choices=PROCESSES, default=PROCESSES, help="that are scraped")
    given = options.parse_args()
    run = Run("observability")
    listens = {name: f"127.0.0.1:{free_port()}" for name in given.processes}
    settings = {f"UGC_{name.upper()}_MANAGEMENT_LISTEN": address for name, address in listens.items()}
    settings |= UNHURRIED
    counting = tuple(counting_microseconds() for _ in range(given.rounds))
    found = [Figure(COUNTING, "ingest", CPU, "us a call", counting)]
    with (
        tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder,
        running_chain(Path(folder), settings) as chain,
        Generator() as generator,
    ):
        loaded(chain, generator, ROWS["rest-batch"], WARM_SECONDS)
        costs = {load: with_and_without(chain, generator, ROWS[load], listens, given) for load in LOADS}
        scrapes = {
            name: [scrape(chain.system.pids[name], listens[name]) for _ in range(given.rounds)] for name in listens
        }
    for name, rounds in scrapes.items():
        found.append(
            Figure(f"scrape-{name}", name, CPU, "ms a scrape", tuple(milliseconds for milliseconds, _ in rounds))
        )
        found.append(Figure(f"scrape-{name}", name, "size", "bytes", tuple(float(size) for _, size in rounds)))
    found += [each for load, taken in costs.items() for each in figures(load, taken)]
    options_used = {**vars(given), "processes": " ".join(given.processes)}
    show(run.end(found, comparisons(found), TITLES, options_used))


def counting_microseconds() -> float:
    """Return the CPU of what ingest adds to a relayed call of one event, without that of the loop around it."""
    metrics = IngestMetrics()
    counted, accepted = metrics.produce, metrics.accepted
    began = time.thread_time_ns()
    for _ in range(CALLS):
        since = time.perf_counter()
        accepted.value += 1
        counted.ended(OK, time.perf_counter() - since)
    middle = time.thread_time_ns()
    for _ in range(CALLS):
        pass
    return (middle - began - (time.thread_time_ns() - middle)) / CALLS / 1e3


def scrape(pid: int, address: str) -> tuple[float, int]:
    """Scrape a process many times; return the milliseconds of its CPU for each, and the bytes of the answer."""
    before = cpu_time(pid).total
    size = 0
    for _ in range(SCRAPES):
        size = len(metrics_of(address))
    return (cpu_time(pid).total - before) / SCRAPES / 1e6, size


def metrics_of(address: str) -> bytes:
    """Return the metrics of a process."""
    request = urllib.request.Request(f"http://{address}/metrics", headers=ACCEPT)
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:
        body: bytes = answer.read()
        return body


def with_and_without(
    chain: Chain, generator: Generator, row: Row, listens: Mapping[str, str], given: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Return the CPU of the processes an event in each round, in turn with scrapes and without."""
    taken: dict[str, list[dict[str, float]]] = {SCRAPED: [], ALONE: []}
    for number in range(given.rounds):
        for name in (SCRAPED, ALONE) if number % 2 == 0 else (ALONE, SCRAPED):
            with scraping(listens) if name == SCRAPED else contextlib.nullcontext():
                taken[name].append(loaded(chain, generator, row, given.seconds))
            progress(f"round {number + 1}  {row.name:<11}{name:<22}{sum(taken[name][-1].values()):8.2f} us an event")
    return taken


@contextlib.contextmanager
def scraping(listens: Mapping[str, str]) -> Iterator[None]:
    """Scrape all processes once a second in the block."""
    stop = threading.Event()

    def scrape_all() -> None:
        while not stop.wait(SCRAPE_SECONDS):
            for address in listens.values():
                metrics_of(address)

    thread = threading.Thread(target=scrape_all)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def loaded(chain: Chain, generator: Generator, row: Row, seconds: float) -> dict[str, float]:
    """Saturate the APIs; return the microseconds of CPU of each process an event, until every event is a row."""
    system = chain.system
    address = system.http if row.protocol == "http" else system.grpc
    load = Load(row.protocol, address, row.target, row.events, row.slots, seconds, warm_seconds=0.0)
    pids = {name: system.pids[name] for name in PROCESSES}
    rows = chain.rows()
    outcome, before, _ = generator.run(load, lambda: cpu_times(pids))
    events = outcome.completed * row.events
    chain.await_rows(rows + events)
    after = cpu_times(pids)
    return {name: after[name].since(before[name]).total / 1e3 / events for name in pids}


def figures(load: str, taken: Mapping[str, list[dict[str, float]]]) -> list[Figure]:
    """Return the figures of a load."""
    return [
        Figure(load, name, CPU, "us an event", tuple(sum(each.values()) for each in rounds), medians(rounds))
        for name, rounds in taken.items()
    ]


def comparisons(found: list[Figure]) -> list[Comparison]:
    """Compare the cost of scrapes with a core, and that of counting with a call."""
    values = {(each.row, each.system, each.unit): each.median for each in found}
    scrapes = sum(value for (_, _, unit), value in values.items() if unit == "ms a scrape")
    counting = values[COUNTING, "ingest", "us a call"]
    return [
        Comparison(
            title="Scrapes of the processes each second",
            system=THIS_PROJECT,
            unit="ms a second",
            value=scrapes,
            beside="one core",
            beside_value=1_000.0 / SCRAPE_SECONDS,
            aim=SHARE_MAX,
        ),
        *(
            Comparison(
                title=f"{ROWS[load].title}: counting the call in ingest",
                system=THIS_PROJECT,
                unit="us a call",
                value=counting,
                beside="the whole call",
                beside_value=values[load, ALONE, "us an event"],
                aim=SHARE_MAX,
            )
            for load in ("rest-one", "grpc-one")
        ),
    ]


def progress(text: str) -> None:
    """Print one measurement."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
