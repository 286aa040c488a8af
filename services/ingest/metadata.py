"""Reads a call's metadata. A client can send any bytes, so each value is validated here. Pure.

A malformed value is ignored, as in the gateway: the call gets a new request id, or has no trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.ingest.events.records import Headers

REQUEST_ID, TRACE_PARENT, TRACE_STATE, AUTHORIZATION = "x-request-id", "traceparent", "tracestate", "authorization"
# The client behind the gateway, and the class of a request.
FORWARDED_FOR, PRIORITY = "x-forwarded-for", "x-ugc-priority"
LOW_PRIORITY = "low"
NAMES = frozenset({REQUEST_ID, TRACE_PARENT, TRACE_STATE, AUTHORIZATION, FORWARDED_FOR, PRIORITY})
# The gateway's pattern: characters that are safe in a log, a header and a command line.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
# W3C Trace Context, 3.2: version ff and all-zero ids are not valid; a later version may have more fields.
TRACE_PARENT_PATTERN = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}((?<!00.{53})-[!-~]{0,200})?", re.ASCII
)
# W3C Trace Context, 3.3: up to 32 members, each a key and a value; at least 512 characters must be propagated.
TRACE_MEMBER_PATTERN = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]", re.ASCII)
TRACE_MEMBERS_MAX = 32
TRACE_STATE_CHARACTERS_MAX = 512
Values = Sequence[str | bytes]
Given = dict[str, list[str | bytes]]


class CallMetadata(NamedTuple):
    """The metadata that ingest uses."""

    request_id: str | None
    # Headers of the Kafka messages, None if there are none.
    headers: Headers | None
    # All values as sent; they are validated by the authentication.
    authorizations: Values
    # The addresses as sent, or an empty text; they are read only when a limit is nearly reached.
    forwarded_for: str = ""
    is_low_priority: bool = False
    # Empty if there is none.
    traceparent: str = ""


NOTHING = CallMetadata(None, None, ())


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> CallMetadata:
    """Read the metadata that ingest uses; values of other names are not examined."""
    given: Given = {}
    for name, value in metadata:
        if name in NAMES:
            given.setdefault(name, []).append(value)
    return validated(given)


def validated(given: Given) -> CallMetadata:
    """Return the metadata from all values of each name that ingest uses."""
    if not given:
        return NOTHING
    request_id, headers, traceparent = None, Headers(), ""
    if (ids := given.get(REQUEST_ID)) and (request_id := single(ids, REQUEST_ID_PATTERN)):
        headers.append((REQUEST_ID, request_id.encode()))
    if (parents := given.get(TRACE_PARENT)) and (parent := single(parents, TRACE_PARENT_PATTERN)):
        traceparent = parent
        headers.append((TRACE_PARENT, parent.encode()))
        # A tracestate without a traceparent belongs to no trace.
        if state := trace_state(given.get(TRACE_STATE, ())):
            headers.append((TRACE_STATE, state.encode()))
    forwarded_for = given.get(FORWARDED_FOR)
    return CallMetadata(
        request_id,
        headers or None,
        given.get(AUTHORIZATION, ()),
        ",".join(map(str, forwarded_for)) if forwarded_for else "",
        PRIORITY in given and given[PRIORITY] == [LOW_PRIORITY],
        traceparent,
    )


def single(values: Values, pattern: re.Pattern[str]) -> str | None:
    """Return the value if there is exactly one and it matches, None otherwise."""
    if len(values) != 1 or not isinstance(values[0], str):
        return None
    return values[0] if pattern.fullmatch(values[0]) else None


def trace_state(values: Values) -> str | None:
    """Return the tracestate if all of it is valid, None otherwise; several headers are one list (RFC 9110, 5.2)."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or sum(map(len, texts)) + len(texts) > TRACE_STATE_CHARACTERS_MAX + 1:
        return None
    members = [member.strip(" \t") for member in ",".join(texts).split(",")]
    filled = [member for member in members if member]
    if len(filled) > TRACE_MEMBERS_MAX or not all(map(TRACE_MEMBER_PATTERN.fullmatch, filled)):
        return None
    return ",".join(filled) or None
