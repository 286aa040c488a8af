"""The shares of callers, and how callers are named."""

from __future__ import annotations

import ipaddress
import tracemalloc

import pytest

from common.networks import LOOPBACK
from services.ingest.limits.caller_shares import CallerShares, fair_share
from services.ingest.limits.callers import LOCAL, CallerNames

CAPACITY = 1_000.0


@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        ([2_000, 2_000], 500),
        ([10_000, 1_000], 500),
        ([10_000, 100], 900),
        ([10_000, 100, 300], 600),
        ([10_000, 5_000, 100], 450),
        ([100, 200], 200),
        ([CAPACITY], CAPACITY),
    ],
)
def test_fair_share(wanted: list[float], share: float) -> None:
    """A caller that wants less than an equal share has what it wants; the others divide the rest."""
    assert fair_share(wanted, CAPACITY) == pytest.approx(share)


def admitted(rates: dict[str, int], seconds: float) -> dict[str, float]:
    """Let callers ask for single events at these rates; return the admitted events a second after a first second."""
    shares, found = CallerShares(), dict.fromkeys(rates, 0)
    for step in range(int(seconds * 1_000)):
        now = step / 1_000
        shares.compute(CAPACITY, now)
        for name, rate in rates.items():
            for _ in range(rate // 1_000 + (step % 1_000 < rate % 1_000)):
                caller = shares.find(name, 1, now)
                if not shares.has_share(caller):
                    caller.debt += 1
                    found[name] += now >= 2
    return {name: count / (seconds - 2) for name, count in found.items()}


def test_ten_to_one() -> None:
    """Of two callers that both want more than half, each gets half, though one asks ten times as often."""
    found = admitted({"large": 10_000, "small": 1_000}, 12.0)

    assert found["large"] == pytest.approx(500, rel=0.1)
    assert found["small"] == pytest.approx(500, rel=0.1)


def test_modest_caller_is_not_limited() -> None:
    """A caller that wants less than an equal share has every event admitted, and the other one has the rest."""
    found = admitted({"large": 10_000, "small": 200}, 12.0)

    assert found["small"] == pytest.approx(200, rel=0.01)
    assert found["large"] == pytest.approx(800, rel=0.1)


def test_a_caller_alone_has_no_share() -> None:
    """A caller alone is not limited by its share."""
    assert admitted({"one": 5_000}, 6.0)["one"] == pytest.approx(5_000, rel=0.01)


def test_large_batches_pay_off() -> None:
    """A batch above the share is admitted, and its caller then waits as long as its share needs for it."""
    shares = CallerShares()
    for name in ("large", "small"):
        shares.find(name, 10_000, 0.0)
    shares.compute(CAPACITY, 1.0)
    caller = shares.find("large", 5_000, 1.0)
    assert not shares.has_share(caller)
    caller.debt += 5_000

    assert shares.has_share(shares.find("large", 1, 9.0))
    assert not shares.has_share(shares.find("large", 1, 11.0))


def test_bounded_memory() -> None:
    """The caller that has asked for nothing for longest is forgotten."""
    shares = CallerShares(callers_max=3)
    for name in "abcad":
        shares.find(name, 1, 0.0).debt += 1

    assert len(shares) == 3
    assert shares.find("a", 1, 0.0).debt == 2
    assert shares.find("b", 1, 0.0).debt == 0


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "name"),
    [
        ("ipv4:198.51.100.7:4000", "", "198.51.100.0/24"),
        ("ipv4:198.51.100.7:4000", "203.0.113.9", "198.51.100.0/24"),
        ("ipv4:127.0.0.1:4000", "203.0.113.9", "203.0.113.0/24"),
        ("ipv4:127.0.0.1:4000", "192.0.2.1, 203.0.113.9, 127.0.0.1", "203.0.113.0/24"),
        ("ipv4:127.0.0.1:4000", "", "127.0.0.0/24"),
        ("ipv4:127.0.0.1:4000", "nonsense", "127.0.0.0/24"),
        ("ipv4:127.0.0.1:4000", "9" * 5_000, "127.0.0.0/24"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:4000", "", "2001:db8:1:2::/64"),
        ("ipv6:%5B::1%5D:4000", "2001:db8::1", "2001:db8::/64"),
        ("ipv6:%5B::ffff:198.51.100.7%5D:4000", "", "198.51.100.0/24"),
        ("unix:", "", LOCAL),
        ("", "", LOCAL),
    ],
)
def test_names(peer: str, forwarded_for: str, name: str) -> None:
    """A caller is the network of the peer, or the last one that a trusted peer names and does not trust itself."""
    assert CallerNames(LOOPBACK).name(peer, forwarded_for) == name


def test_nobody_is_trusted() -> None:
    """Without trusted networks the addresses that a peer names are ignored."""
    assert CallerNames([ipaddress.ip_network("10.0.0.0/8")]).name("ipv4:127.0.0.1:1", "203.0.113.9") == "127.0.0.0/24"


def test_memory_of_names() -> None:
    """What clients send does not stay in memory as a whole."""
    names = CallerNames(LOOPBACK)
    tracemalloc.start()
    try:
        for port in range(100):
            names.name(f"ipv4:127.0.0.1:{port}", f"{port}{'x' * 60_000}, 203.0.113.9")
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert names.name("ipv4:127.0.0.1:1", f"{'x' * 60_000}, 203.0.113.9") == "203.0.113.0/24"
    assert kept < 1_000_000
