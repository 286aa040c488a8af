"""Limits of the relay."""

from __future__ import annotations

from dataclasses import dataclass

# Calls of a stream in progress, its largest frame, and the largest message of a call in it. A larger message would keep
# the other calls of its frame waiting, and gains little.
CALLS_MAX = 1_000
FRAME_BYTES_MAX = 1_048_576
MESSAGE_BYTES_MAX = 262_144
# Entries of one call's metadata (names and values), and their bytes, as in a call of its own.
METADATA_ENTRIES_MAX = 128
METADATA_BYTES_MAX = 65_536
# Cancellations in one frame.
CANCELLED_MAX = 2 * CALLS_MAX
# Streams of one connection.
CONNECTION_STREAMS_MAX = 4
# Bytes of answers that wait for a client to read: from the first number on no further frame of it is read, above the
# second its stream ends while the process has no headroom of memory. A batch of 20 KB can have an answer of 1 MB.
UNREAD_BYTES_MAX = 4_194_304
UNREAD_BYTES_WITHOUT_HEADROOM_MAX = 16_777_216
# Largest frame of answers, unless a single answer is larger.
ANSWER_FRAME_BYTES_MAX = 1_048_576
# How long a stream lives; then the client opens another one, so that streams spread over the servers too.
STREAM_SECONDS_MAX = 30.0
# How long a stream that is to end waits for the client to close its side. A stream that ends while the client writes a
# frame looks to it like a broken one, whose calls may have been processed.
DRAIN_SECONDS_MAX = 2.0
# How long a client may take to accept a frame of answers.
WRITE_SECONDS_MAX = 10.0
# How often deadlines of calls, and limits of streams, are checked.
DEADLINE_TICK_SECONDS = 0.05
STREAM_TICK_SECONDS = 1.0
# Calls that are begun between two checks of the time slice.
CALLS_PER_CHECK = 32


@dataclass(frozen=True)
class RelayLimits:
    """Limits of the streams of a process."""

    # Streams at once; and those of them that may stay open while the process has no headroom of memory.
    streams_max: int
    guaranteed_streams: int
    # How long a stream lives; then the client opens another one.
    stream_seconds_max: float
