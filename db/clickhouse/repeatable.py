"""Decides which statements are safe to repeat: an interrupted migration is run again from its first statement."""

from __future__ import annotations

import re
from collections.abc import Iterator

from db.errors import ConflictError

COMMENT_OR_TEXT = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'", re.DOTALL)
PART = r"(COLUMN|INDEX|PROJECTION|CONSTRAINT|STATISTICS)"
# A plain CREATE is allowed, because the run does not fail when the table already exists.
STATEMENT = re.compile(r"CREATE |DROP (TABLE|VIEW|DICTIONARY) IF EXISTS ")
ALTER = re.compile(r"ALTER TABLE (?:IF EXISTS )?\S+ (?:ON CLUSTER \S+ )?(.*)")
ACTION = re.compile(
    rf"ADD {PART} IF NOT EXISTS |(DROP|CLEAR) {PART} IF EXISTS |MATERIALIZE {PART} "
    r"|COMMENT COLUMN |MODIFY (COLUMN|COMMENT|SETTING|TTL|QUERY) |RESET SETTING "
)


def refuse_unrepeatable(name: str, statement: str) -> None:
    """Raise ConflictError, naming the file, for a statement that fails or changes more when it is repeated."""
    plain = " ".join(COMMENT_OR_TEXT.sub(lambda found: "''" if found[0][0] == "'" else " ", statement).split())
    altered = ALTER.fullmatch(plain)
    actions = list(actions_of(altered[1])) if altered else []
    bad = [action for action in actions if not ACTION.match(action)]
    if bad or not (actions or STATEMENT.match(plain)):
        raise ConflictError(
            f"migration {name} cannot be repeated after an interrupted run; it needs IF NOT EXISTS, IF EXISTS or "
            f"another form that does nothing the second time: {(bad or [plain])[0]}"
        )


def actions_of(text: str) -> Iterator[str]:
    """Yield the actions of an ALTER, which are separated by commas outside of parentheses."""
    depth, start = 0, 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
    yield text[start:].strip()
