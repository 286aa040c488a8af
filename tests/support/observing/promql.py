"""What an expression of PromQL names: series, labels and their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Expr, MatchOp, VectorSelector

# Variables of Grafana, which Prometheus does not have.
RATE_INTERVAL = "$__rate_interval"


@dataclass(frozen=True)
class Selector:
    """A series that an expression selects, and the values that it allows for labels."""

    name: str
    labels: tuple[tuple[str, tuple[str, ...]], ...]


def parsed(text: str) -> Expr:
    """Parse an expression of a panel or a rule; ValueError if it is not valid."""
    return promql_parser.parse(text.replace(RATE_INTERVAL, "1m"))


def nodes(text: str) -> list[Expr]:
    """Return every part of an expression."""
    found: list[Expr] = []

    def visit(node: Expr) -> None:
        found.append(node)

    promql_parser.walk(parsed(text), visit)
    return found


def selectors(text: str) -> list[Selector]:
    """Return the series that an expression selects."""
    return [
        Selector(str(node.name), tuple((each.name, allowed(each.op, each.value)) for each in node.matchers.matchers))
        for node in nodes(text)
        if isinstance(node, VectorSelector)
    ]


def allowed(operator: MatchOp, value: str) -> tuple[str, ...]:
    """Return the values that a matcher lists; none if it has a pattern or excludes values."""
    if operator == MatchOp.Equal:
        return (value,)
    is_list = operator == MatchOp.Re and re.fullmatch(r"[\w|]+", value)
    return tuple(value.split("|")) if is_list else ()


def grouping(text: str) -> set[str]:
    """Return the labels by which an expression aggregates or joins."""
    return {label for node in nodes(text) for label in labels_of(node)}


def labels_of(node: Expr) -> Iterator[str]:
    if isinstance(node, AggregateExpr) and node.modifier is not None:
        yield from node.modifier.labels
    if isinstance(node, BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
        yield from node.modifier.matching.labels
