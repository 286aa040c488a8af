"""The lines of a process: a bug is told with its stack, without what stood in local variables."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from services.runtime.logs import configure_logs, logger

TOKEN = "a-clients-token"  # noqa: S105 -- of a test


class Terminal(io.StringIO):
    """Standard error that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Leave structlog and the root logger as they were."""
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()
    logger.cache_clear()


def fail(authorization: str) -> None:
    """Fail in a frame that has a client's token among its variables."""
    raise ValueError(f"{len(authorization)} characters")


def lines_of_a_bug(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Log the same bug by structlog and by the standard library; return what was written."""
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs("test", "info")
    try:
        fail(TOKEN)
    except ValueError:
        logger().exception("a request failed")
        logging.getLogger("a.library").exception("a request failed")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["for machines", "for people"])
def test_stacks_without_variables(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of logging name the functions and the error, in either form of the lines, and never a value."""
    written = lines_of_a_bug(stream, monkeypatch)

    assert written.count("ValueError") >= 2
    assert "15 characters" in written
    assert "fail" in written
    assert TOKEN not in written


def test_lines_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is one JSON object with the process's name and its level."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in lines_of_a_bug(io.StringIO(), monkeypatch).splitlines()]

    assert [(line["process"], line["level"], line["event"]) for line in lines] == [
        ("test", "error", "a request failed")
    ] * 2
