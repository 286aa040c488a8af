"""The drawn chart of the costs: the ratio to the peer in each row, and its aim, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from reference.costs import kept

from tests.support.benchmarks.report import Comparison

WIDTH, LEFT, RIGHT, TOP, LINE, BAR = 900, 400, 60, 46, 34, 16
TICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
FONT = 'font-family="sans-serif" font-size="12"'
CAPTION = "ratio to the peer (1: as much as the peer); the blue line is the aim"
MET, NOT_MET, AIM, INK, GRID = "#2e7d32", "#c62828", "#1a237e", "#212121", "#e0e0e0"


def chart() -> str:
    """Return the chart as SVG."""
    compared = [each for report in kept() for each in report.comparisons if each.aim is not None]
    values = [value for each in compared for value in (each.ratio, each.aim or 1.0)] + [1.0]
    low = max((tick for tick in TICKS if tick <= min(values)), default=TICKS[0])
    high = min((tick for tick in TICKS if tick >= max(values)), default=TICKS[-1])

    def x(value: float) -> float:
        share = math.log(min(max(value, low), high) / low) / math.log(high / low) if high > low else 0.0
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    bottom = TOP + LINE * len(compared)
    grid = [line for tick in TICKS if low <= tick <= high for line in tick_lines(x(tick), tick, bottom)]
    bars = [line for position, each in enumerate(compared) for line in bar_lines(each, x, TOP + LINE * position)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 40}" {FONT}>',
            f'<rect width="{WIDTH}" height="{bottom + 40}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="18" fill="{INK}">{CAPTION}</text>',
            *grid,
            *bars,
            "</svg>",
        ]
    )


def tick_lines(at: float, tick: float, bottom: float) -> list[str]:
    """Return the line and the number of one tick; that of the peer is drawn dark."""
    colour = INK if tick == 1 else GRID
    return [
        f'<line x1="{at}" y1="{TOP - 8}" x2="{at}" y2="{bottom}" stroke="{colour}"/>',
        f'<text x="{at}" y="{bottom + 18}" text-anchor="middle" fill="{INK}">{tick:g}</text>',
    ]


def bar_lines(comparison: Comparison, x: Callable[[float], float], top: float) -> list[str]:
    """Return the bar of one row, from the peer to the ratio, with its label and its aim."""
    one, end, aim = x(1.0), x(comparison.ratio), x(comparison.aim or 1.0)
    colour = MET if comparison.is_met else NOT_MET
    left, width, middle = min(one, end), max(abs(end - one), 1.5), top + LINE / 2
    near = f'x="{end + 6}"' if end >= one else f'x="{end - 6}" text-anchor="end"'
    return [
        f'<text x="{LEFT - 14}" y="{middle + 4}" text-anchor="end" fill="{INK}">{escape(comparison.title)}</text>',
        f'<rect x="{left}" y="{middle - BAR / 2}" width="{round(width, 1)}" height="{BAR}" fill="{colour}"/>',
        f'<line x1="{aim}" y1="{middle - BAR}" x2="{aim}" y2="{middle + BAR}" stroke="{AIM}" stroke-width="3"/>',
        f'<text {near} y="{middle + 4}" fill="{INK}">{comparison.ratio:.2f}</text>',
    ]
