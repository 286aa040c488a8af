"""Logs of a process: one JSON object a line on standard error, or readable lines when that is a terminal."""

from __future__ import annotations

import logging
import sys
from functools import cache

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure_logs(process: str, level: str) -> None:
    """Set up structlog and the standard library's logging alike; every line carries the name of the process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending = readable_lines() if sys.stderr.isatty() else json_lines()
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger.cache_clear()
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def readable_lines() -> list[Processor]:
    """Return what writes lines for people; a stack trace without local variables, which may be a client's token."""
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def json_lines() -> list[Processor]:
    """Return what writes lines for machines; a stack trace likewise."""
    stack = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(stack), structlog.processors.JSONRenderer(ensure_ascii=False)]


@cache
def logger() -> FilteringBoundLogger:
    """Return the process's logger: `logger().info("event", key=value)`."""
    # Bound once: to bind costs ten times what a line costs that is not written.
    bound: FilteringBoundLogger = structlog.get_logger().bind()
    return bound


class Outage:
    """Logs a condition when it begins and when it ends, not each time it is seen."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.seen = 0

    def failed(self, error: BaseException) -> None:
        """Note one more failure; the first of an outage is logged."""
        self.seen += 1
        if self.seen == 1:
            logger().warning(f"{self.what} failed, retrying", error=str(error).strip())

    def over(self) -> None:
        """Note a success; the end of an outage is logged with the number of failures."""
        if self.seen:
            logger().info(f"{self.what} works again", failures=self.seen)
        self.seen = 0
