"""The language of code and documents: words that STYLE and CONTRIBUTING.md replace by the field's terms."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.documents.files import relative, texts

# Each with what to write in its place.
WORDS = {
    r"doors?": "endpoint, or the name of the server",
    r"ours": "the name of the component",
    r"lest": "so that ... not",
    r"for ever": "indefinitely",
    r"tells?|told": "the verb for what the process does: returns, logs, rejects, shows",
}
PATTERN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
# Lines that may have such a word, by file, with the reason.
ALLOWED: dict[str, dict[str, str]] = {}


def test_words() -> None:
    """No file uses a word of the list, except for the lines that are allowed."""
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in ((relative(file), text) for file, text in texts() if file != Path(__file__))
        for number, line in enumerate(text.splitlines(), 1)
        if PATTERN.search(line) and not is_allowed(path, line)
    ]

    assert found == [], f"write instead: {WORDS}"


def is_allowed(path: str, line: str) -> bool:
    """Return whether a line of a file is in the list of exceptions."""
    return any(part in line for part in ALLOWED.get(path, ()))


def test_exceptions_are_needed() -> None:
    """Each exception is of a line that exists."""
    lines = {relative(path): text for path, text in texts()}

    assert [(path, part) for path, parts in ALLOWED.items() for part in parts if part not in lines.get(path, "")] == []
