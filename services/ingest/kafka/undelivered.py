"""Why Kafka has not acknowledged a record, and what would help."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Remedy(Enum):
    """What would help."""

    SEND_AGAIN = "send it again"
    MAKE_SMALLER = "make it smaller"
    MEND_THE_SERVER = "an operator must change something"


class Undelivered(NamedTuple):
    """The reason of a record that was not acknowledged."""

    reason: str
    remedy: Remedy = Remedy.SEND_AGAIN
