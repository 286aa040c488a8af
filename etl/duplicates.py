"""Which events of a partition are repeats. A pure function of the log: every owner comes to the same verdicts.

An offset is a repeat exactly when its identity, event_id and user, occurs among the previous `horizon` offsets of its
partition.
"""

from __future__ import annotations

from collections.abc import Sequence


class DuplicateWindow:
    """The identities of a partition's last events, in two generations so that forgetting costs nothing.

    It holds at most two horizons and a batch, about 140 bytes an identity.
    """

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._recent: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._recent_from: int | None = None

    def repeats(self, identities: Sequence[bytes], offsets: Sequence[int]) -> dict[int, int]:
        """Take the next events in: the indexes of those that are repeats, each with the offset that it repeats."""
        if not identities:
            return {}
        if self._recent_from is None:
            self._recent_from = offsets[0]
        found = {} if self._are_new(identities) else self._find(identities, offsets)
        self._recent.update(zip(identities, offsets, strict=True))
        if offsets[-1] - self._recent_from >= self._horizon:
            # Whatever is dropped now is further back than the horizon of every event to come.
            self._older, self._recent, self._recent_from = self._recent, {}, offsets[-1] + 1
        return found

    def forget(self, identity: bytes) -> None:
        """Forget an event that ClickHouse refused: sent again it is no repeat, because it is stored nowhere."""
        self._recent.pop(identity, None)
        self._older.pop(identity, None)

    def _are_new(self, identities: Sequence[bytes]) -> bool:
        """Whether none is known and none comes twice: almost always, and three passes in C."""
        return (
            self._recent.keys().isdisjoint(identities)
            and self._older.keys().isdisjoint(identities)
            and len(set(identities)) == len(identities)
        )

    def _find(self, identities: Sequence[bytes], offsets: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        within: dict[bytes, int] = {}
        for index, (identity, offset) in enumerate(zip(identities, offsets, strict=True)):
            known = within.get(identity, self._recent.get(identity, self._older.get(identity)))
            if known is not None and offset - known <= self._horizon:
                found[index] = known
            within[identity] = offset
        return found
