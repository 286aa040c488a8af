"""What a client knows: every event it has sent and every one that was acknowledged, on disk before its next step.

One JSON object a line: `{"sent": [...]}` or `{"acknowledged": [...]}`, each with `at`, the Unix time in seconds.
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
    """Appends; what a call wrote is on disk when it returns. For several threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def sent(self, identities: Sequence[str]) -> None:
        """Note events that are about to be sent for the first time."""
        self._append({"at": time.time(), "sent": identities})

    def acknowledged(self, identities: Sequence[str]) -> None:
        """Note events for which the server has answered success."""
        self._append({"at": time.time(), "acknowledged": identities})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: dict[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(line).encode() + b"\n")
            os.fsync(self._file.fileno())


@dataclass
class Ledger:
    """A ledger as read back: identity to the time of its first sending, and of its acknowledgement."""

    sent: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)


def read_ledger(path: Path) -> Ledger:
    """Read a ledger; the last line may have been cut short by a kill, and then says nothing."""
    ledger = Ledger()
    if not path.exists():
        return ledger
    *lines, _ = path.read_bytes().split(b"\n")
    for line in lines:
        entry = json.loads(line)
        for column in ("sent", "acknowledged"):
            for identity in entry.get(column, ()):
                getattr(ledger, column).setdefault(identity, entry["at"])
    return ledger
