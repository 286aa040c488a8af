"""A client's record of the events that it sent and of those that were acknowledged, on disk before its next step.

One JSON object a line: `{"sent": [...]}` or `{"acknowledged": [...]}`, each with `at`, the Unix time in seconds; and
`{"unacknowledged": N, "began": ...}` for a call after which N events must be sent again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


class LedgerWriter:
    """Appends to a ledger; an entry is on disk when the call returns. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def sent(self, identities: Sequence[str]) -> None:
        """Record events that are about to be sent for the first time."""
        self._append({"at": time.time(), "sent": identities})

    def acknowledged(self, identities: Sequence[str]) -> None:
        """Record events that the server has acknowledged."""
        self._append({"at": time.time(), "acknowledged": identities})

    def unacknowledged(self, began: float, events: int) -> None:
        """Record a call, begun at a time, that did not acknowledge all of its events."""
        self._append({"at": time.time(), "began": began, "unacknowledged": events})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: dict[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(line).encode() + b"\n")
            os.fsync(self._file.fileno())


@dataclass
class Ledger:
    """The times at which each event was first sent and acknowledged, by the event's identity.

    `errors` has the beginning and the end of each call that did not acknowledge all of its events.
    """

    sent: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    errors: list[tuple[float, float]] = field(default_factory=list)

    @property
    def error_seconds(self) -> float:
        """The time from the beginning of the first such call to the end of the last; 0 without any."""
        if not self.errors:
            return 0.0
        return max(end for _, end in self.errors) - min(begin for begin, _ in self.errors)


def read_ledger(path: Path) -> Ledger:
    """Read a ledger; an incomplete last line, which a kill leaves behind, is ignored."""
    ledger = Ledger()
    if not path.exists():
        return ledger
    *lines, _ = path.read_bytes().split(b"\n")
    for line in lines:
        entry = json.loads(line)
        for column in ("sent", "acknowledged"):
            for identity in entry.get(column, ()):
                getattr(ledger, column).setdefault(identity, entry["at"])
        if "unacknowledged" in entry:
            ledger.errors.append((entry["began"], entry["at"]))
    return ledger
