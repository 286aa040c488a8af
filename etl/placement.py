"""On which shard the rows of a partition are (architecture/decisions/0024). Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Beyond every offset.
ANYWHERE = 2**63


@dataclass(frozen=True)
class Placement:
    """On which of the shards the rows of a partition are.

    Those from offset `since` on are on the shard `partition modulo shards`. Earlier ones may be on any shard: they were
    stored under another number of shards, or by a version without this rule.
    """

    shards: int = 1
    since: int = 0

    @classmethod
    def unknown(cls, shards: int) -> Placement:
        """Return that of rows of which nothing is recorded."""
        return cls(shards, ANYWHERE)

    @property
    def is_unknown(self) -> bool:
        """Whether any row may be on any shard."""
        return self.since == ANYWHERE

    def is_on_its_shard(self, first: int) -> bool:
        """Whether no row from the offset `first` on is on another shard."""
        # A window may begin before the first offset, 0. A partition would then wait for every shard.
        return self.shards == 1 or max(first, 0) >= self.since

    def metadata(self) -> dict[str, int]:
        """Return what the metadata of a commit records of it."""
        return {} if self.shards == 1 else {"shards": self.shards, "since": self.since}


ONE_SHARD = Placement()
