"""Logs an outage as a whole, where each failed attempt would be a line."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from common.logs import logger

# A lasting outage is logged again after this time; in it, at most this many different causes are logged.
REMINDER_SECONDS = 60.0
CAUSES_MAX = 10
# Two errors have the same cause if their texts are equal up to numbers, addresses and ids; codes must be equal.
CAUSE_CHARACTERS_MAX = 500
CODE = re.compile(r"(?:[Cc]ode: ?|code=|error )(-?\w+)")
NUMBER = re.compile(r"[0-9a-fA-F]*\d[\w.:\-]*")


class OutageLog:
    """Logs an outage when it begins, when its cause changes, once a minute while it lasts, and when it ends."""

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.seen = 0
        self._now = now
        self._began = self._logged = 0.0
        # When each cause was last logged, so that two alternating causes are logged once a minute each.
        self._causes: dict[str, float] = {}
        self._last: dict[str, object] = {}

    def failed(self, error: BaseException, **details: object) -> None:
        """Count a failure; the first one of each cause is logged with the details."""
        self._last = {**details, "error": str(error).strip()}
        now, self.seen = self._now(), self.seen + 1
        if self.seen == 1:
            self._began, self._causes = now, {}
        cause = cause_of(error)
        since = {each: at for each, at in self._causes.items() if now - at < REMINDER_SECONDS}
        if cause not in since and len(since) < CAUSES_MAX:
            self._causes = since | {cause: now}
            self._logged = now
            lasts = self._lasts(now) if self.seen > 1 else {}
            logger().warning(f"{self.what} failed, retrying", **self._last, **lasts)
        self.remind()

    def remind(self) -> None:
        """Log that the outage lasts if nothing was logged for a minute; for loops that wait without new failures."""
        now = self._now()
        if self.seen and now - self._logged >= REMINDER_SECONDS:
            self._logged = now
            logger().warning(f"{self.what} still fails", **self._last, **self._lasts(now))

    def over(self) -> None:
        """Note a success; the end of an outage is logged with its duration and the number of failures."""
        if self.seen:
            logger().info(f"{self.what} works again", **self._lasts(self._now()))
        self.seen = 0

    def forget(self) -> None:
        """End the outage without a log line, because the operation is not retried any more."""
        self.seen = 0

    def _lasts(self, now: float) -> dict[str, object]:
        return {"failures": self.seen, "seconds": round(now - self._began, 1)}


def cause_of(error: BaseException) -> str:
    """Return what errors of one cause have in common: class, code, and the text without other numbers."""
    text = str(error)[:CAUSE_CHARACTERS_MAX]
    code = getattr(error, "code", None)
    codes = [*CODE.findall(text), code if isinstance(code, int) else ""]
    return f"{type(error).__name__} {codes} {NUMBER.sub('#', text)}"
