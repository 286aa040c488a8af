"""The form of a log line: one JSON object, or text for a terminal, without secrets and with no value beyond a limit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from common.redaction import Redactor

# Longest value in a line.
VALUE_CHARACTERS_MAX = 4_000
STACK_CHARACTERS_MAX = 16_000
Render = Callable[[WrappedLogger, str, EventDict], str | bytes]


class Redacted:
    """Renders a line, and hides the secrets in it; the last processor of structlog."""

    def __init__(self, render: Render, redactor: Redactor) -> None:
        self._render = render
        self._redactor = redactor

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Return the line."""
        return self._redactor.hide(str(self._render(logger, method, event)))


def readable_lines(redactor: Redactor, *, colors: bool) -> list[Processor]:
    """Return the processors for readable lines; stacks have no local variables, which may be secret."""
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=short_traceback)
    return [Redacted(renderer, redactor)]


def json_lines(redactor: Redactor) -> list[Processor]:
    """Return the processors for lines in JSON; stacks have no local variables."""
    stack = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    # Shortened after rendering too, because the text of an exception may contain a client's value.
    return [structlog.processors.ExceptionRenderer(stack), shorten_values, Redacted(renderer, redactor)]


def without_empty_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove the key `trace_id` of a request that has no trace; a processor of structlog."""
    if not event.get("trace_id", "-"):
        del event["trace_id"]
    return event


def shorten_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Shorten every text of a line to VALUE_CHARACTERS_MAX; a processor of structlog."""
    return {name: value if name == "exc_info" else shorten(value) for name, value in event.items()}


def shorten(value: object, characters_max: int = VALUE_CHARACTERS_MAX) -> object:
    """Return a value with every text in it shortened."""
    match value:
        case str() if len(value) > characters_max:
            return f"{value[:characters_max]}... ({len(value)} characters)"
        case bytes() | bytearray():
            return shorten(repr(bytes(value[:characters_max])), characters_max)
        case dict():
            return {name: shorten(item, characters_max) for name, item in value.items()}
        case list() | tuple():
            return [shorten(item, characters_max) for item in value]
    return value


def short_traceback(target: TextIO, error: ExcInfo) -> None:
    """Write a stack trace with a bounded length, as the exception's text can be long."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    target.write(str(shorten(text.getvalue(), STACK_CHARACTERS_MAX)))
