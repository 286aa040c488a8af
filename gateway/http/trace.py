"""W3C trace context: which `traceparent` and `tracestate` of a client are forwarded to the service."""

from __future__ import annotations

import re
from collections.abc import Iterable

from multidict import CIMultiDictProxy

from common.trace_context import TRACEPARENT, TRACESTATE

# Version, trace id, parent id, flags; future versions may add more after a dash.
PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[!-~]{1,200})?", re.ASCII)
MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{1,256}", re.ASCII)
FIRST_VERSION, NO_VERSION = "00", "ff"
MEMBERS_MAX = 32
STATE_CHARACTERS_MAX = 1_024


def trace_metadata(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the trace context of a request as metadata; a malformed header is left out."""
    named = list(headers)
    parents = [value for name, value in named if name == TRACEPARENT]
    if len(parents) != 1 or not is_parent(parents[0]):
        return []
    state = ",".join(value for name, value in named if name == TRACESTATE)
    return [(TRACEPARENT, parents[0]), *([(TRACESTATE, state)] if is_state(state) else [])]


def traceparent_of(headers: CIMultiDictProxy[str]) -> str:
    """Return the traceparent of a request; empty when it has none, or a malformed one."""
    given = headers.getall(TRACEPARENT, ())
    return given[0] if len(given) == 1 and is_parent(given[0]) else ""


def is_parent(text: str) -> bool:
    """Whether a text is a traceparent."""
    match = PARENT.fullmatch(text)
    if match is None or match[1] == NO_VERSION or (match[1] == FIRST_VERSION and match[4]):
        return False
    return bool(match[2].strip("0") and match[3].strip("0"))


def is_state(text: str) -> bool:
    """Whether a text is a tracestate with at least one member."""
    if not text or len(text) > STATE_CHARACTERS_MAX or text.count(",") >= 2 * MEMBERS_MAX:
        return False
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    keys = [member.partition("=")[0] for member in members]
    return 0 < len(set(keys)) == len(keys) <= MEMBERS_MAX and all(map(MEMBER.fullmatch, members))
