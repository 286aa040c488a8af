"""What is read of a call's metadata. A client writes its bytes freely, so each value is checked where it is read. Pure.

What is not well-formed is as none, as it is for the gateway: the call gets a new id, or goes on without a trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.ingest.events.records import Headers

REQUEST_ID, TRACE_PARENT, TRACE_STATE, AUTHORIZATION = "x-request-id", "traceparent", "tracestate", "authorization"
READ = frozenset({REQUEST_ID, TRACE_PARENT, TRACE_STATE, AUTHORIZATION})
# The gateway's pattern: characters that can stand in a log, a header and a command line.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
# W3C Trace Context, 3.2: version ff and ids of zeros are not valid; a later version may have more parts.
TRACE_PARENT_PATTERN = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}((?<!00.{53})-[!-~]{0,200})?", re.ASCII
)
# W3C Trace Context, 3.3: up to 32 members, each a key and a value; 512 characters must travel on.
TRACE_MEMBER_PATTERN = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]", re.ASCII)
TRACE_MEMBERS_MAX = 32
TRACE_STATE_CHARACTERS_MAX = 512
Values = Sequence[str | bytes]


class Sent(NamedTuple):
    """What a client sent beside its message."""

    request_id: str | None
    # What goes on to Kafka, None when there is nothing.
    headers: Headers | None
    # Whatever stands there: the authentication judges it.
    authorizations: Values


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Sent:
    """Read the few names that are used; a value of another is never looked at."""
    given: dict[str, list[str | bytes]] = {}
    for name, value in metadata:
        if name in READ:
            given.setdefault(name, []).append(value)
    if not given:
        return Sent(None, None, ())
    request_id = single(given.get(REQUEST_ID, ()), REQUEST_ID_PATTERN)
    headers: Headers = [(REQUEST_ID, request_id.encode())] if request_id else []
    if parent := single(given.get(TRACE_PARENT, ()), TRACE_PARENT_PATTERN):
        headers.append((TRACE_PARENT, parent.encode()))
        # Without a parent it belongs to no trace.
        if state := trace_state(given.get(TRACE_STATE, ())):
            headers.append((TRACE_STATE, state.encode()))
    return Sent(request_id, headers or None, given.get(AUTHORIZATION, ()))


def single(values: Values, pattern: re.Pattern[str]) -> str | None:
    """Return a value that was given once and is well-formed."""
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    return values[0] if pattern.fullmatch(values[0]) else None


def trace_state(values: Values) -> str | None:
    """Return a well-formed tracestate; several headers are one list (RFC 9110, 5.2)."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or sum(map(len, texts)) + len(texts) > TRACE_STATE_CHARACTERS_MAX + 1:
        return None
    members = [member.strip(" \t") for member in ",".join(texts).split(",")]
    filled = [member for member in members if member]
    if len(filled) > TRACE_MEMBERS_MAX or not all(map(TRACE_MEMBER_PATTERN.fullmatch, filled)):
        return None
    return ",".join(filled) or None
