"""Logging to standard error: one JSON object a line, or readable lines if it is a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Hashable
from functools import cache
from typing import TextIO, cast

# None makes structlog's import of rich fail, which it allows: it would take a tenth of the CPU of a process's start.
MODULES = cast("dict[str, object]", sys.modules)
MODULES.setdefault("rich", None)

import structlog  # noqa: E402 -- after the line above
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger  # noqa: E402 -- as above

if MODULES["rich"] is None:
    del MODULES["rich"]

# Longest value in a line, and in a line that clients can cause.
VALUE_CHARACTERS_MAX = 4_000
CLIENT_VALUE_CHARACTERS_MAX = 200
STACK_CHARACTERS_MAX = 16_000
# Lines that clients or libraries can cause in any number are limited to one of each kind in this time.
REPEAT_SECONDS = 10.0
KINDS_MAX = 1_000
# A lasting outage is logged again after this time; in it, at most this many different causes are logged.
REMINDER_SECONDS = 60.0
CAUSES_MAX = 10
# Two errors have the same cause if their texts are equal up to numbers, addresses and ids; codes must be equal.
CAUSE_CHARACTERS_MAX = 500
CODE = re.compile(r"(?:[Cc]ode: ?|code=|error )(-?\w+)")
NUMBER = re.compile(r"[0-9a-fA-F]*\d[\w.:\-]*")


def configure_logs(process: str, level: str, worker: int | None = None) -> None:
    """Configure structlog and standard logging; each line has the process's name, and the number of a worker."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        shorten_values,
    ]
    ending = readable_lines() if sys.stderr.isatty() else json_lines()
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Writes a line and its end at once: several workers write to one stream.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", LossyStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logger.cache_clear()
    structlog.contextvars.bind_contextvars(process=process, **({} if worker is None else {"worker": worker}))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    handler.addFilter(RateLimitFilter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


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


def readable_lines() -> list[Processor]:
    """Return the processors for lines in a terminal; stacks have no local variables, which may be secret."""
    return [structlog.dev.ConsoleRenderer(exception_formatter=short_traceback)]


def json_lines() -> list[Processor]:
    """Return the processors for lines in JSON; stacks have no local variables."""
    stack = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    # Shortened after rendering too, because the text of an exception may contain a client's value.
    return [structlog.processors.ExceptionRenderer(stack), shorten_values, renderer]


@cache
def logger() -> FilteringBoundLogger:
    """Return the process's logger: `logger().info("event", key=value)`."""
    # Bound once, because binding costs ten times as much as a line below the log level.
    bound: FilteringBoundLogger = structlog.get_logger().bind()
    return bound


def log_limited(level: int, event: str, **values: object) -> None:
    """Log an event that clients can cause in any number: a short line, and at most one of its kind in 10 s.

    The kind is `event`, a constant text. `left_out` in the next line is the number of lines that were not written.
    """
    left_out = CLIENT_LINES.acquire(event)
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


class OutageLog:
    """Logs an outage when it begins, when its cause changes, once a minute while it lasts, and when it ends."""

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.seen = 0
        self._now = now
        self._began = self._logged = 0.0
        # When each cause was last logged, so that two alternating causes are logged once a minute each.
        self._causes: dict[str, float] = {}
        self._last: dict[str, object] = {}

    def failed(self, error: BaseException, **details: object) -> None:
        """Count a failure; the first one of each cause is logged with the details."""
        self._last = {**details, "error": str(error).strip()}
        now, self.seen = self._now(), self.seen + 1
        if self.seen == 1:
            self._began, self._causes = now, {}
        cause = cause_of(error)
        since = {each: at for each, at in self._causes.items() if now - at < REMINDER_SECONDS}
        if cause not in since and len(since) < CAUSES_MAX:
            self._causes = since | {cause: now}
            self._logged = now
            lasts = self._lasts(now) if self.seen > 1 else {}
            logger().warning(f"{self.what} failed, retrying", **self._last, **lasts)
        self.remind()

    def remind(self) -> None:
        """Log that the outage lasts if nothing was logged for a minute; for loops that wait without new failures."""
        now = self._now()
        if self.seen and now - self._logged >= REMINDER_SECONDS:
            self._logged = now
            logger().warning(f"{self.what} still fails", **self._last, **self._lasts(now))

    def over(self) -> None:
        """Note a success; the end of an outage is logged with its duration and the number of failures."""
        if self.seen:
            logger().info(f"{self.what} works again", **self._lasts(self._now()))
        self.seen = 0

    def forget(self) -> None:
        """End the outage without a log line, because the operation is not retried any more."""
        self.seen = 0

    def _lasts(self, now: float) -> dict[str, object]:
        return {"failures": self.seen, "seconds": round(now - self._began, 1)}


def cause_of(error: BaseException) -> str:
    """Return what errors of one cause have in common: class, code, and the text without other numbers."""
    text = str(error)[:CAUSE_CHARACTERS_MAX]
    code = getattr(error, "code", None)
    codes = [*CODE.findall(text), code if isinstance(code, int) else ""]
    return f"{type(error).__name__} {codes} {NUMBER.sub('#', text)}"
