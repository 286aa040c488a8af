"""Logging to standard error: one JSON object a line, or readable lines if it is a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Hashable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, TextIO, cast

# None makes structlog's import of rich fail, which it allows: it would take a tenth of the CPU of a process's start.
MODULES = cast("dict[str, object]", sys.modules)
MODULES.setdefault("rich", None)

import structlog  # noqa: E402 -- after the line above
from structlog.typing import FilteringBoundLogger, Processor  # noqa: E402 -- as above

from common.log_lines import json_lines, readable_lines, shorten, shorten_values, without_empty_trace  # noqa: E402 -- as above
from common.redaction import Redactor, secrets_of  # noqa: E402 -- as above

if MODULES["rich"] is None:
    del MODULES["rich"]

if TYPE_CHECKING:
    from common.settings import LogSettings

# Longest value in a line that clients can cause.
CLIENT_VALUE_CHARACTERS_MAX = 200
# Lines that clients or libraries can cause in any number are limited to one of each kind in this time.
REPEAT_SECONDS = 10.0
KINDS_MAX = 1_000
# The one that the process's lines pass, once they are configured.
REDACTORS: list[Redactor] = []


def configure_logs(process: str, settings: LogSettings, worker: int | None = None) -> None:
    """Configure structlog and standard logging; each line has the process's name, and the number of a worker."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_empty_trace,
        shorten_values,
    ]
    is_terminal, redactor = sys.stderr.isatty(), Redactor(secrets_of(settings))
    REDACTORS[:] = [redactor]
    form = settings.log_format or ("console" if is_terminal else "json")
    ending = readable_lines(redactor, colors=is_terminal) if form == "console" else json_lines(redactor)
    stream = cast("TextIO", LossyStream(sys.stderr))
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        # Writes a line and its end at once: several workers write to one stream.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logger.cache_clear()
    structlog.contextvars.bind_contextvars(process=process, **({} if worker is None else {"worker": worker}))
    handler = LibraryHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    handler.addFilter(RateLimitFilter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log_what_python_writes()


def hide_too(secret: str) -> None:
    """Hide a further secret in the lines from now on, such as a password that has replaced another."""
    for redactor in REDACTORS:
        redactor.add(secret)


def log_what_python_writes() -> None:
    """Make lines of the log of what Python would write to standard error: uncaught exceptions, and warnings."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, Exception):
            sys.__excepthook__(kind, error, trace)
            return
        logger().critical("ended by an unexpected error", exc_info=(kind, error, trace))

    def uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
        # SystemExit is how a thread ends itself.
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
            log_limited(logging.ERROR, "a thread ended by an unexpected error", exc_info=failed.exc_value)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    warnings.showwarning = log_warning


def log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 -- the parameters are those of the standard library
    line: str | None = None,  # noqa: ARG001 -- as above
) -> None:
    """Log a warning of Python or of a library; rate-limited by its class."""
    text, place = f"{category.__name__}: {message}", f"{filename}:{lineno}"
    log_limited(logging.INFO, "a library warns", kind=(category, place), warning=text, place=place)


class LibraryHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of libraries."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the name in the standard library
        """Log that a library's line has no text, where the standard library would write a stack with its values."""
        log_limited(logging.INFO, "a line of a library cannot be written", library=record.name)


class LossyStream(io.TextIOBase):
    """A stream that drops what it cannot write, because a full disk or a closed pipe must not fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the buffer, or drop it."""
        with contextlib.suppress(OSError):
            self._stream.flush()


@cache
def logger() -> FilteringBoundLogger:
    """Return the process's logger: `logger().info("event", key=value)`."""
    # Bound once, because binding costs ten times as much as a line below the log level.
    bound: FilteringBoundLogger = structlog.get_logger().bind()
    return bound


def log_limited(level: int, event: str, *, kind: Hashable = None, **values: object) -> None:
    """Log an event that can occur in any number: a short line, and at most one of its kind in 10 s.

    The kind is `event`, a constant text, and what `kind` distinguishes beside it, such as a partition. `left_out` in
    the next line is the number of lines that were not written.
    """
    left_out = CLIENT_LINES.acquire((event, kind))
    if left_out is None:
        return
    short: dict[str, object] = {name: shorten(value, CLIENT_VALUE_CHARACTERS_MAX) for name, value in values.items()}
    if left_out:
        short["left_out"] = left_out
    logger().log(level, event, **short)


class RateLimiter:
    """Limits events to one of each kind in `seconds`."""

    def __init__(self, seconds: float = REPEAT_SECONDS, now: Callable[[], float] = time.monotonic) -> None:
        """Distinguish KINDS_MAX kinds; all further ones share one limit."""
        self._seconds = seconds
        self._now = now
        self._passed: dict[Hashable, float] = {}
        self._left_out: dict[Hashable, int] = {}
        self._lock = threading.Lock()  # libraries log from their own threads

    def acquire(self, kind: Hashable) -> int | None:
        """Return how many events of a kind were left out since the last one that passed, None to leave this one out."""
        with self._lock:
            now = self._now()
            if kind not in self._passed and len(self._passed) >= KINDS_MAX:
                kind = None
            last = self._passed.get(kind)
            if last is not None and now - last < self._seconds:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            self._passed[kind] = now
            return self._left_out.pop(kind, 0)


CLIENT_LINES = RateLimiter()


class RateLimitFilter(logging.Filter):
    """Limits the lines of libraries, by their position in the source and the class of the exception."""

    def __init__(self, limiter: RateLimiter | None = None) -> None:
        super().__init__()
        self._limiter = limiter or RateLimiter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written; its text then counts the lines of its kind that were left out."""
        # The text is not part of the kind, because a client's values can make each text different.
        kind = record.exc_info[0] if record.exc_info else None
        left_out = self._limiter.acquire((record.name, record.pathname, record.lineno, kind))
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more of these were left out)", None
        return left_out is not None
