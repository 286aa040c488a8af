"""The reference page of the log lines, from the calls in the code that write them."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reference.log_keys import ARGUMENTS, COMMON_KEYS, KEYS, LEVELS

from tests.support.documents.texts import OUTAGE_CLASSES, VARIABLE, Module, modules, name_of

INTRODUCTION = """\
# Log lines

This page lists every event that the processes and `ugc-migrate` log, with its level and the keys of its line. They
write one line an event to standard error: a JSON object, or readable text on a terminal; `UGC_LOG_FORMAT` chooses the
form. `UGC_LOG_LEVEL` is the least severe level that is written. The [runbook](../operating/runbook.md) has an entry
for each warning and error that asks a person to act.

- **Secrets.** Passwords, tokens and authorization headers are replaced by `***`, also in lines of libraries and in
  the texts of exceptions.
- **Length.** A text is cut after 4,000 characters, after 200 where a client can cause the line.
- **Repeats.** `10 s`: of one kind, at most one line in 10 seconds is written, and `left_out` counts the others.
  `outage`: a line when it begins, for each new cause, once a minute, and when it ends. Lines of libraries are limited
  to one in 10 seconds for each place in their code.
- **Not JSON.** A bad setting or argument ends a command with a line of text before logging begins, and Python's
  faulthandler writes the stacks of a process that hangs.

`…` stands for a part that differs from line to line.
"""
SECTIONS = {
    "services": "ingest",
    "gateway": "gateway",
    "etl": "etl",
    "db": "migrate",
    "common": "Every process, and the parent of several workers",
}
OUTAGE_KEYS = ("error", "failures", "seconds")
# Texts that another call in the code has as a constant.
LISTED_ELSEWHERE = {"services/ingest/error_interceptor.py"}
METHODS = set(LEVELS) | {"exception"}


class Line(NamedTuple):
    """An event that is logged."""

    event: str
    level: str
    keys: tuple[str, ...]
    repeats: str


def page() -> str:
    """Return the page: levels, keys, and a table of events for each process."""
    lines = {section: sorted(set(lines_of(package))) for package, section in SECTIONS.items()}
    used = {key for found in lines.values() for line in found for key in line.keys}
    if unknown := sorted(used - KEYS.keys() - COMMON_KEYS.keys()):
        raise SystemExit(f"describe these keys in docs/reference/log_keys.py: {', '.join(unknown)}")
    tables = [
        f"## {section}\n\n| event | level | keys | repeats |\n|---|---|---|---|\n" + "\n".join(map(row, found)) + "\n"
        for section, found in lines.items()
    ]
    own = {key: meaning for key, meaning in sorted(KEYS.items()) if key in used}
    return "\n".join(
        [
            INTRODUCTION,
            table("Levels", "level", LEVELS),
            table("Keys of every line", "key", COMMON_KEYS),
            *tables,
            table("Keys of single events", "key", own),
        ]
    )


def table(heading: str, first: str, rows: Mapping[str, str]) -> str:
    """Return a section with a table of names and meanings."""
    body = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in rows.items())
    return f"## {heading}\n\n| {first} | meaning |\n|---|---|\n{body}\n"


def row(line: Line) -> str:
    """Return the row of an event."""
    return f"| `{line.event}` | {line.level} | {', '.join(f'`{key}`' for key in line.keys)} | {line.repeats} |"


def lines_of(package: str) -> Iterator[Line]:
    """Find the events that a package logs."""
    details = outage_details(package)
    for module in modules(package):
        if any(map(is_outage_class, ast.walk(module.tree))):
            continue
        calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
        for call in calls:
            yield from Lines(module, calls).of(call)
        for what in module.arguments_of(OUTAGE_CLASSES):
            yield from outage_lines(what, details)


@functools.cache
def outage_templates() -> tuple[tuple[str, str], ...]:
    """Return the texts and levels of OutageLog, with `…` for the outage."""
    (module,) = [each for each in modules("common") if any(map(is_outage_class, ast.walk(each.tree)))]
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and is_log_call(node)]
    return tuple((module.templates(call.args[0])[0], name_of(call.func)) for call in calls)


def is_outage_class(node: ast.AST) -> bool:
    """Whether a node defines the class that logs outages."""
    return isinstance(node, ast.ClassDef) and node.name in OUTAGE_CLASSES


def outage_details(package: str) -> tuple[str, ...]:
    """Return the keys that the outages of a package have beside their own."""
    calls = [
        node
        for module in modules(package)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("outage.failed")
    ]
    return tuple(sorted({keyword.arg for call in calls for keyword in call.keywords if keyword.arg}))


def outage_lines(what: str, details: tuple[str, ...]) -> Iterator[Line]:
    """Return the lines of an outage."""
    for template, level in outage_templates():
        keys = (*details, *OUTAGE_KEYS) if level == "warning" else OUTAGE_KEYS[1:]
        yield Line(template.replace(VARIABLE, what, 1), level, keys, "outage")


def is_log_call(call: ast.Call) -> bool:
    """Whether a call is one of the process's logger."""
    return name_of(call.func) in METHODS and ast.unparse(call.func).startswith("logger().")


class Lines:
    """Finds what one call of a module logs."""

    def __init__(self, module: Module, calls: list[ast.Call]) -> None:
        self._module = module
        self._calls = calls

    def of(self, call: ast.Call) -> Iterator[Line]:
        """Yield the events of a call, none when it does not log."""
        if is_log_call(call):
            level, event, repeats = name_of(call.func).replace("exception", "error"), call.args[0], ""
        elif name_of(call.func) == "log_limited":
            level, event, repeats = name_of(call.args[0]).lower(), call.args[1], "10 s"
        else:
            return
        function = self._module.function_of(call)
        collected = function.args.kwarg.arg if function is not None and function.args.kwarg else None
        own = [each for keyword in call.keywords for each in self._keys(keyword, function)]
        if collected is None or not any(ast.unparse(each.value) == collected for each in call.keywords):
            for text in self._texts(event):
                yield Line(text, level, keys(own), repeats)
            return
        # The function passes on its own keywords: each of its callers logs an event of its own.
        for caller in [each for each in self._calls if function is not None and name_of(each.func) == function.name]:
            given = [keyword.arg for keyword in caller.keywords if keyword.arg]
            texts = [text for each in caller.args for text in self._module.templates(each) if text != VARIABLE]
            for text in texts:
                yield Line(text, level, keys([*own, *given]), repeats)

    def _keys(self, keyword: ast.keyword, function: ast.AST | None) -> list[str]:
        """Return the keys of a keyword; `**values` has those of the dictionary that the function assigns to it."""
        if keyword.arg is not None:
            return [keyword.arg]
        dictionaries = [
            node.value
            for node in ast.walk(function or self._module.tree)
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == ast.unparse(keyword.value)
            and isinstance(node.value, ast.Dict)
        ]
        return [str(key.value) for each in dictionaries for key in each.keys if isinstance(key, ast.Constant)]

    def _texts(self, event: ast.expr) -> list[str]:
        """Return what an event may be; a constant of a module is looked up."""
        texts = self._module.templates(event)
        if texts != [VARIABLE]:
            return texts
        namespace: dict[str, Any] = vars(importlib.import_module(self._module.dotted_name))
        match event:
            case ast.Name(id=name) if name in namespace:
                return [namespace[name]]
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key)) if name in namespace:
                return [namespace[name][key]]
        if self._module.name not in LISTED_ELSEWHERE:
            raise SystemExit(f"{self._module.name}:{event.lineno}: the event of a log line must be a constant text")
        return []


def keys(names: list[str]) -> tuple[str, ...]:
    """Return the keys of a line, each once."""
    return tuple(dict.fromkeys(key for name in names if (key := ARGUMENTS.get(name, name))))
