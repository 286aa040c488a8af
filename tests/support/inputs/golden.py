"""The golden file: requests and the answers of both endpoints, one JSON object a line (tests/golden/requests.jsonl).

    name     the purpose of the case
    call     Produce or BatchProduce
    request  the JSON body of REST; or `bytes`, in hex, for what only gRPC can send
    code     the gRPC code
    http     the HTTP status
    answer   the response, or the google.rpc.Status, as JSON without its empty fields

`{"$repeat": x, "times": n}` stands for a text or a list that is x n times; `"<uuid7>"` for any UUIDv7.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "golden" / "requests.jsonl"
ANY_UUID7 = "<uuid7>"


@dataclass(frozen=True, eq=False)
class Case:
    """One request and its answer."""

    name: str
    call: str
    code: str
    answer: dict[str, Any]
    http: int | None = None
    request: Any = None
    bytes: str | None = None

    def __str__(self) -> str:
        return f"{self.call}: {self.name}"


def cases() -> list[Case]:
    """Read the file."""
    return [Case(**json.loads(line)) for line in FILE.read_text(encoding="ascii").splitlines()]


def expanded(value: Any) -> Any:
    """Replace the abbreviations of the file by what they stand for."""
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        repeated, times = value["$repeat"], value["times"]
        return repeated * times if isinstance(repeated, str) else [expanded(repeated)] * times
    return {name: expanded(each) for name, each in value.items()}


def abstracted(answer: Any, like: Any) -> Any:
    """Return an answer with `<uuid7>` in place of an identity that the server generates."""
    if isinstance(answer, dict) and isinstance(like, dict) and like.get("eventId") == ANY_UUID7:
        made = uuid.UUID(answer["eventId"])
        assert str(made) == answer["eventId"]
        return answer | {"eventId": ANY_UUID7 if made.version == 7 else answer["eventId"]}
    return answer
