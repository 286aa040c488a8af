"""Runs of many seeds on several processors, with their totals; or of one seed, step by step."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from rich.console import Console
from rich.table import Table

from tests.simulation.member import Variant
from tests.simulation.simulation import Outcome, quiet_logs, simulate

PROCESSES = 2
SEEDS_AT_A_TIME = 100
# The number of failures that are printed; the others are only counted.
NAMED_MAX = 10
# The rows of the table, in this order.
TOTALS = (
    *("runs", "messages", "inserts", "crashes", "freezes", "stops", "isolations", "evictions", "rebalances"),
    *("revocations", "commits unknown", "commits refused", "commits late", "offset resets", "plans found"),
    *("batches prepared", "polls during inserts", "revocations during inserts", "losses during inserts"),
    *("server kills", "server freezes", "blocks cut between months", "tokens without rows", "rows without tokens"),
    *("quorums late", "quorums reached late", "parts vanished", "replicas away", "queries without a replica"),
    *("queries despite a replica", "queries of all shards", "releases replaced"),
    *("inserts unanswered", "inserts delayed", "inserts fenced", "inserts refused", "probes"),
    *("event_ids of other users", "poison messages", "undecodable with ids"),
    *("changes of the partitions", "events of other partitions", "events looked up in other partitions"),
    *("runs counted exactly", "complete-through times"),
    *("rows under faults", "rows", "hung", "lost", "doubled"),
)


def traced(seed: int, variant: Variant) -> Outcome:
    """Run one seed and print its steps."""
    with quiet_logs():
        return simulate(seed, variant, print_line)


def print_line(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def in_parallel(seeds: range, variant: Variant) -> Iterator[Outcome]:
    """Run many seeds on several processors."""
    chunks = [seeds[start : start + SEEDS_AT_A_TIME] for start in range(0, len(seeds), SEEDS_AT_A_TIME)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for outcomes in pool.map(partial(simulate_all, variant=variant), chunks):
            yield from outcomes


def simulate_all(seeds: Iterable[int], variant: Variant) -> list[Outcome]:
    """Run each seed."""
    with quiet_logs():
        return [simulate(seed, variant) for seed in seeds]


def report(outcomes: Iterable[Outcome], variant: Variant) -> int:
    """Print the totals, and the first of the failures."""
    console = Console()
    totals: Counter[str] = Counter()
    failures = 0
    for outcome in outcomes:
        totals.update(outcome.counts)
        if outcome.failure:
            failures += 1
            if failures <= NAMED_MAX:
                console.print(f"seed {outcome.seed}: {outcome.failure}", style="red", markup=False, highlight=False)
    table = Table("what", "how often", title=variant.name)
    table.columns[1].justify = "right"
    for name in TOTALS:
        table.add_row(name, f"{totals[name]:,}")
    table.add_row("failed runs", f"{failures:,}", style="red" if failures else "green")
    console.print(table)
    return int(failures > 0)
