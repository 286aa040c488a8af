"""W3C Trace Context in the form `version-trace id-parent id-flags`: what a request's traceparent says. Pure."""

from __future__ import annotations

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
# The positions in every version; a later one may have more after the flags.
TRACE_ID, SPAN_ID, FLAGS_LAST_DIGIT = slice(3, 35), slice(36, 52), 54
# The last digits of flags whose lowest bit is set.
SAMPLED_DIGITS = frozenset("13579bdf")


def is_sampled(traceparent: str) -> bool:
    """Whether a well-formed traceparent, or an empty text for none, says that its request is traced."""
    return traceparent[FLAGS_LAST_DIGIT:][:1] in SAMPLED_DIGITS


def trace_id_of(traceparent: str) -> str:
    """Return the trace id of a well-formed traceparent, empty for an empty text."""
    return traceparent[TRACE_ID]
