"""Where the replicas of a service are, by a target and the answers of a name server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.balancing.resolving import REPLICAS_MAX, Endpoint, Resolver
from gateway.targets import hosts_of
from tests.support.fakes.replicas import Names


async def found(target: str, names: Names) -> list[str]:
    """Return the targets of the endpoints that a resolver finds."""
    resolver = Resolver(target, names)
    await resolver.refresh()
    return [each.target for each in resolver.endpoints()]


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        ("a:1", ["a:1"]),
        ("a:1,b:2,a:1", ["a:1", "b:2"]),
        ("dns:///a:1", ["a:1"]),
        ("dns:a:1", ["a:1"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", ["10.0.0.1:1", "10.0.0.2:2"]),
        ("ipv6:[::1]:1,[::2]:1", ["[::1]:1", "[::2]:1"]),
        ("dns://server/a:1", []),
        ("dns:///a", []),
        ("unix:/a:1", []),
        ("xds:///a:1", []),
    ],
)
def test_hosts(target: str, hosts: Sequence[str]) -> None:
    """Hosts are those of a list or of a scheme that names hosts; others are left to gRPC."""
    assert list(map(str, hosts_of(target))) == hosts


@pytest.mark.parametrize(
    ("target", "endpoints"),
    [
        ("127.0.0.1:1,[::1]:2", ["ipv4:127.0.0.1:1", "ipv6:[::1]:2"]),
        ("dns:///four:1", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1"]),
        ("four:1,six:2", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1", "ipv6:[fd00::1]:2"]),
        ("one:1,four:1", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1"]),
        ("both:1", ["dns:///both:1"]),
        ("many:1", ["ipv6:[fd00::1]:1", "ipv6:[fd00::2]:1"]),
        ("unknown:1,four:1", ["ipv4:10.0.0.1:1", "ipv4:10.0.0.2:1"]),
        ("unknown:1", []),
        ("unix:/run/a", ["unix:/run/a"]),
    ],
)
async def test_endpoints(target: str, endpoints: Sequence[str]) -> None:
    """Each address is an endpoint once; a name with one address of either family is left to gRPC as one replica."""
    names = Names(
        one=["10.0.0.1"], four=["10.0.0.1", "10.0.0.2", "10.0.0.1"], six=["fd00::1"], both=["::1", "127.0.0.1"],
        many=["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"],
    )  # fmt: skip

    assert await found(target, names) == endpoints


async def test_a_name_that_does_not_resolve_any_more() -> None:
    """The addresses that a name had are kept, also when its answer is empty."""
    names = Names(a=["10.0.0.1"])
    resolver = Resolver("a:1", names)
    await resolver.refresh()
    before = resolver.endpoints()
    names.addresses["a"] = []
    await resolver.refresh()
    assert resolver.endpoints() == before
    del names.addresses["a"]
    await resolver.refresh()
    assert resolver.endpoints() == before == (Endpoint("ipv4:10.0.0.1:1", "a:1"),)


async def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other hosts are used meanwhile, and the name is not asked for once more before its answer."""
    monkeypatch.setattr("gateway.balancing.resolving.RESOLVE_SECONDS_MAX", 0.05)
    names = Names(a=["10.0.0.1"], b=["10.0.0.2"])
    names.held = "a"
    resolver = Resolver("a:1,b:1", names)
    for _ in range(3):
        await resolver.refresh()
    assert [each.target for each in resolver.endpoints()] == ["ipv4:10.0.0.2:1"]
    assert (names.asked["a"], names.asked["b"]) == (1, 3)
    await resolver.close()


async def test_too_many_replicas() -> None:
    """A process uses a bounded number of replicas, always the same ones, and another process uses others."""
    names = Names(a=[f"10.0.{number}.1" for number in range(2 * REPLICAS_MAX)])
    chosen = []
    for seed in (b"one", b"one", b"other"):
        resolver = Resolver("a:1", names, seed)
        await resolver.refresh()
        chosen.append(set(resolver.endpoints()))
    assert len(chosen[0]) == REPLICAS_MAX
    assert chosen[0] == chosen[1] != chosen[2]
