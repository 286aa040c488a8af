"""The language of code and documents: words in whose place a standard term is used."""

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
    r"hears?|heard": "receives",
    r"foreign ones": "of other programs, of the library",
}
PATTERN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)


def test_words() -> None:
    """No file uses a word of the list."""
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in ((relative(file), text) for file, text in texts() if file != Path(__file__))
        for number, line in enumerate(text.splitlines(), 1)
        if PATTERN.search(line)
    ]

    assert found == [], f"write instead: {WORDS}"
