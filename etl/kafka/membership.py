"""Whether this process is a member of the consumer group, as Kafka's client reports it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from common.logs import log_limited

# The client's state once it has the group's coordinator. Observed: a member without partitions is in it too, while no
# callback is called for it.
UP = "up"
NOT_REPORTED = "init"


class Membership:
    """Changed by the thread that polls the client, read by others."""

    def __init__(self) -> None:
        self._state = NOT_REPORTED
        # Returns which permission the process lacks, and a problem with the cause that the client has reported.
        self.missing: Callable[[], str] = lambda: ""
        self.explain: Callable[[str], str] = lambda problem: problem

    @property
    def is_joined(self) -> bool:
        """Whether the group's coordinator is connected, or has just assigned partitions."""
        return self._state == UP

    def problem(self) -> str:
        """Return why the process is not a member of the group, or cannot read as one; empty if it can."""
        if missing := self.missing():
            return missing
        if self.is_joined:
            return ""
        return self.explain(f"has not joined the consumer group: Kafka's client is in state {self._state}")

    def assigned(self) -> None:
        """Note that the coordinator has assigned partitions."""
        self._state = UP

    def lost(self) -> None:
        """Note that the group has removed this member; the statistics show when it has joined again."""
        self._state = "lost"

    def statistics(self, text: str) -> None:
        """Take over the state from the client's statistics, in JSON; raises nothing, because it runs inside poll."""
        try:
            self._state = str(json.loads(text)["cgrp"]["state"])
        except (ValueError, LookupError, TypeError) as error:
            log_limited(logging.ERROR, "the statistics of Kafka's client could not be read", exc_info=error)
