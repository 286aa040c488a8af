"""Text of a client as it may stand in a message, a header or a log line: short, printable, on one line."""

from __future__ import annotations

# A value or a name in a message is cut to this.
QUOTED_CHARACTERS_MAX = 100
# A whole message of the gateway; several values may stand in it.
MESSAGE_CHARACTERS_MAX = 1_000
CUT = "..."


def quoted(text: str, characters_max: int = QUOTED_CHARACTERS_MAX) -> str:
    """Return the text cut to a number of characters, control characters and what is not UTF-8 as escapes."""
    short = text if len(text) <= characters_max else text[:characters_max] + CUT
    return short if short.isprintable() else "".join(map(printable, short))


def printable(letter: str) -> str:
    """Return a character, or its escape when it cannot be printed."""
    return letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode()


def limited(message: str) -> str:
    """Return a message within its limit; what stands in it was cut one by one, but may be many."""
    return quoted(message, MESSAGE_CHARACTERS_MAX)
