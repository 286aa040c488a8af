"""What a 401 answers in WWW-Authenticate: Bearer of RFC 6750, without a word that a client sent."""

from __future__ import annotations

REALM = "gateway"
DESCRIPTION_CHARACTERS_MAX = 200
# What may not stand in an error_description, RFC 6750 section 3.
QUOTE, BACKSLASH = '"', "\\"


def challenge(message: str, *, has_token: bool) -> str:
    """Return the header's value; why a token was refused is said only to those who sent one."""
    if not has_token:
        return f'Bearer realm="{REALM}"'
    return f'Bearer realm="{REALM}", error="invalid_token", error_description="{description(message)}"'


def description(message: str) -> str:
    """Return the text as far as a quoted string of a header can hold it: short, printable ASCII."""
    short = message[:DESCRIPTION_CHARACTERS_MAX].replace(QUOTE, "'").replace(BACKSLASH, "/")
    return "".join(character if " " <= character <= "~" else "?" for character in short)
