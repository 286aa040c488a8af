"""Prints the report of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table

from tests.support.benchmarks.report import Comparison, Figure, Report

COLUMNS = 180
DETAIL_SHARE_MIN = 0.02
VERDICTS = {True: "met", False: "not met", None: ""}


def show(report: Report, *, details: bool = False) -> None:
    """Print the figures, and how they compare with the aims; with `details` also the parts of the parts."""
    machine = report.machine
    console = Console(width=COLUMNS)
    console.print(f"{machine.cores} cores, {machine.cpu}, {machine.kernel}, Python {machine.python}, {machine.commit}")
    console.print(figure_table(report.figures))
    if report.comparisons:
        console.print(comparison_table(report.comparisons))
    for figure in report.figures if details else ():
        for part, spent in figure.details.items():
            parts = sorted(spent.items(), key=lambda pair: -pair[1])
            least = DETAIL_SHARE_MIN * figure.parts[part]
            shown = ", ".join(f"{name} {value:,.1f}" for name, value in parts if value > least)
            console.print(f"{figure.row:<12}{figure.system:<14}{part:<12}{shown}", soft_wrap=True)


def figure_table(figures: Iterable[Figure]) -> Table:
    """Return the table of the medians."""
    table = Table(box=box.SIMPLE, title="medians")
    for name in ("row", "system", "quantity", "value", "unit", "rounds", "of it"):
        table.add_column(name, justify="right" if name == "value" else "left", no_wrap=True)
    for each in figures:
        parts = ", ".join(f"{name} {number(value)}" for name, value in each.parts.items())
        rounds = " ".join(map(number, each.values)) if len(each.values) > 1 else ""
        table.add_row(each.row, each.system, each.quantity, number(each.median), each.unit, rounds, parts)
    return table


def comparison_table(comparisons: Iterable[Comparison]) -> Table:
    """Return the table of the ratios."""
    table = Table(box=box.SIMPLE, title="beside the peers")
    for name in ("", "system", "value", "beside", "its value", "unit", "ratio", "aim", ""):
        table.add_column(
            name, justify="right" if name in ("value", "its value", "ratio", "aim") else "left", no_wrap=True
        )
    for each in comparisons:
        aim = "" if each.aim is None else f"{'at least' if each.higher else 'at most'} {each.aim:g}"
        values = number(each.value), each.beside, number(each.beside_value), each.unit
        table.add_row(each.title, each.system, *values, f"{each.ratio:.2f}", aim, VERDICTS[each.is_met])
    return table


def number(value: float) -> str:
    """Return a number with about three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
