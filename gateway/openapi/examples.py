"""Examples, which the comments of messages carry: a fenced block of JSON, as in Markdown."""

from __future__ import annotations

import json
import re

from gateway.errors import DescriptorError
from gateway.json.text import JsonValue

FENCED = re.compile(r"\s*(?:Example:\s*)?^```json\n(.*?)^```$\s*", re.DOTALL | re.MULTILINE)


def without_example(comment: str) -> str:
    """Return a comment without its example."""
    return FENCED.sub("\n\n", comment).strip()


def example(comment: str, full_name: str) -> JsonValue:
    """Return the example of a comment, None when it has none; DescriptorError when it is not JSON."""
    found = FENCED.search(comment)
    if found is None:
        return None
    try:
        value: JsonValue = json.loads(found[1])
    except ValueError as error:
        raise DescriptorError(f"the example in the comment of {full_name} is not JSON: {error}") from error
    return value
