"""What the lane keeps of the metadata of one head."""

from __future__ import annotations

from typing import Any

from gateway.memo import PEERS_MAX, Memo

ONE, OTHER = ("203.0.113.7", False), ("203.0.113.8", False)
NOTHING: Any = None


def test_metadata_by_the_peer() -> None:
    """Metadata with the address of the peer is kept for each peer."""
    memo, names = Memo(NOTHING, NOTHING, b"", NOTHING), frozenset({"x-request-id", "x-forwarded-for"})
    assert memo.kept(names, ONE) is None
    memo.keep(ONE, b"one")

    assert memo.kept(names, ONE) == b"one"
    assert memo.kept(names, OTHER) is None


def test_metadata_of_all_peers() -> None:
    """Metadata that does not depend on the peer is kept once."""
    memo, names = Memo(NOTHING, NOTHING, b"", NOTHING), frozenset({"x-request-id"})
    assert memo.kept(names, ONE) is None
    memo.keep(ONE, b"all")

    assert memo.kept(names, OTHER) == b"all"


def test_other_names() -> None:
    """Metadata is kept for the names of one service; another one has its own."""
    memo = Memo(NOTHING, NOTHING, b"", NOTHING)
    memo.kept(frozenset({"a"}), ONE)
    memo.keep(ONE, b"a")

    assert memo.kept(frozenset({"a"}), ONE) == b"a"
    assert memo.kept(frozenset({"b"}), ONE) is None


def test_bounded_memory() -> None:
    """With too many peers all of it is computed again."""
    memo, names = Memo(NOTHING, NOTHING, b"", NOTHING), frozenset({"x-forwarded-for"})
    for number in range(PEERS_MAX + 1):
        peer = (str(number), False)
        memo.kept(names, peer)
        memo.keep(peer, b"x")

    assert memo.kept(names, ("0", False)) is None
    assert memo.kept(names, (str(PEERS_MAX), False)) == b"x"
