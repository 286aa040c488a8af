"""Which events of a partition are repeats: every owner comes to the same verdicts.

An offset is a repeat exactly when its identity, event_id and user, occurs among the previous `horizon` offsets of its
partition in an event that was stored, or in a repeat of one. What ClickHouse refused is stored nowhere: its copies are
no repeats of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdicts:
    """Of some events in a row: the indexes of repeats with the offsets that they repeat, and the chains of repeats.

    A chain is given by the offset of its original, which is among these events, and that of its last repeat.
    """

    repeats: dict[int, int] = field(default_factory=dict)
    chains: dict[int, int] = field(default_factory=dict)


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
        """Judge the next events and take them in, none of which was refused."""
        found = self.judge(identities, offsets).repeats
        self.take(identities, offsets)
        return found

    def judge(
        self,
        identities: Sequence[bytes],
        offsets: Sequence[int],
        stored: Collection[int] = (),
        refused: Collection[int] = (),
    ) -> Verdicts:
        """Judge the next events; of some offsets it is known that they are stored, or refused."""
        if self._are_new(identities):
            return Verdicts()
        verdicts = Verdicts()
        # The last offset of each identity, and the original that this rests on when it is among these events.
        within: dict[bytes, tuple[int, int | None]] = {}
        for index, (identity, offset) in enumerate(zip(identities, offsets, strict=True)):
            known, original = within.get(identity) or (self._last(identity), None)
            if offset in stored:
                within[identity] = (offset, None)
            elif known is not None and offset - known <= self._horizon:
                verdicts.repeats[index] = known
                within[identity] = (offset, original)
                if original is not None:
                    verdicts.chains[original] = offset
            elif offset not in refused:
                within[identity] = (offset, offset)
        return verdicts

    def take(self, identities: Sequence[bytes], offsets: Sequence[int], refused: Collection[int] = ()) -> None:
        """Take the next events in, but those that were refused."""
        if not identities:
            return
        if self._recent_from is None:
            self._recent_from = offsets[0]
        pairs = zip(identities, offsets, strict=True)
        self._recent.update(pair for pair in pairs if pair[1] not in refused) if refused else self._recent.update(pairs)
        if offsets[-1] - self._recent_from >= self._horizon:
            # Whatever is dropped now is further back than the horizon of every event to come.
            self._older, self._recent, self._recent_from = self._recent, {}, offsets[-1] + 1

    def forget(self, identity: bytes, offsets: Collection[int]) -> None:
        """Forget an event that ClickHouse refused, unless another of its identity has come since."""
        for generation in (self._recent, self._older):
            if generation.get(identity) in offsets:
                del generation[identity]

    def _last(self, identity: bytes) -> int | None:
        return self._recent.get(identity, self._older.get(identity))

    def _are_new(self, identities: Sequence[bytes]) -> bool:
        """Whether none is known and none comes twice: almost always, and three passes in C."""
        return (
            self._recent.keys().isdisjoint(identities)
            and self._older.keys().isdisjoint(identities)
            and len(set(identities)) == len(identities)
        )
