"""Origins, networks and targets: the gateway refuses to start with a spelling that never matches."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings

SENT = [
    "https://cinema.example",
    "http://cinema.example",
    "http://localhost:3000",
    "https://cinema.example:8443",
    "http://cinema.example:443",
    "https://cinema.example:80",
    "https://a.b-c.d_e.example",
    "https://xn--e1afmkfd.xn--p1ai",
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "https://[2001:db8::1]",
]
SPELLED = {
    "HTTPS://cinema.example": "https://cinema.example",
    "https://Cinema.Example": "https://cinema.example",
    "https://cinema.example/": "https://cinema.example",
    "https://cinema.example/player": "https://cinema.example",
    "https://cinema.example?a=b": "https://cinema.example",
    "https://cinema.example#a": "https://cinema.example",
    "https://cinema.example:443": "https://cinema.example",
    "http://cinema.example:80": "http://cinema.example",
    "http://cinema.example:": "http://cinema.example",
    "http://cinema.example:08000": "http://cinema.example:8000",
    "https://cinema.example.": "https://cinema.example",
    "https://user@cinema.example": "https://cinema.example",
    "https://user:password@cinema.example": "https://cinema.example",
    "https://пример.рф": "https://xn--e1afmkfd.xn--p1ai",
    "https://b\u00fccher.example": "https://xn--bcher-kva.example",
    "http://127.1:8000": "http://127.0.0.1:8000",
    "http://2130706433": "http://127.0.0.1",
    "http://0x7f.0.0.1": "http://127.0.0.1",
    "http://010.0.0.1": "http://8.0.0.1",
    "http://[0:0:0:0:0:0:0:1]": "http://[::1]",
    "http://[2001:DB8::1]": "http://[2001:db8::1]",
    "http://[2001:db8::0001]:80": "http://[2001:db8::1]",
    "http://[::ffff:127.0.0.1]": "http://[::ffff:7f00:1]",
}
NO_ORIGINS = [
    "*",
    "null",
    "cinema.example",
    "//cinema.example",
    "https:cinema.example",
    "https:/cinema.example",
    "https://",
    "https://:443",
    "https:///player",
    "ftp://cinema.example",
    "ws://cinema.example",
    "file:///player.html",
    "https://*.cinema.example",
    "https://cinema example",
    "https://cinema.example:0",
    "https://cinema.example:65536",
    "https://cinema.example:port",
    "https://cinema..example",
    "https://.example",
    "https://cinema%2eexample",
    "https://[::1",
    "https://[:::1]",
    "https://[fe80::1%25eth0]",
    "https://256.0.0.1",
    "https://1.2.3.4.5",
    "https:\\\\cinema.example",
]


def chosen(**values: Any) -> GatewaySettings:
    """Return settings from texts, as in the environment."""
    return GatewaySettings(**values)


def refusal(setting: str, value: str) -> str:
    """Return the errors of a bad value before and after a good one."""
    with pytest.raises(ValidationError) as raised:
        chosen(**{setting: value})
    assert [error["loc"][0] for error in raised.value.errors()] == [setting]
    return raised.value.errors()[0]["msg"]


@pytest.mark.parametrize("origin", SENT)
def test_origins_that_browsers_send(origin: str) -> None:
    """Origins that browsers send are accepted unchanged."""
    assert chosen(gateway_cors_origins=f" {origin} ,http://other.example").gateway_cors_origins == (
        origin,
        "http://other.example",
    )


@pytest.mark.parametrize(("origin", "spelling"), SPELLED.items())
def test_origins_that_no_browser_sends(origin: str, spelling: str) -> None:
    """An origin that no browser sends is refused with the spelling that one sends, which is accepted."""
    assert f"it sends {spelling!r}" in refusal("gateway_cors_origins", f"http://other.example, {origin}")
    assert chosen(gateway_cors_origins=spelling).gateway_cors_origins == (spelling,)


@pytest.mark.parametrize(
    "origin", [f"https://{host}.example" for host in ("stra\u00dfe", "\u03c3\u03c2", "a\u200db", "\u1e9e")]
)
def test_origins_that_only_browsers_can_spell(origin: str) -> None:
    """An origin that browsers spell differently from Python is refused without a suggestion."""
    found = refusal("gateway_cors_origins", origin)
    assert "punycode" in found
    assert "it sends" not in found


@pytest.mark.parametrize("origin", NO_ORIGINS)
def test_invalid_origins(origin: str) -> None:
    """An invalid origin is refused with an example of a valid one."""
    assert repr(origin) in refusal("gateway_cors_origins", f"{origin},http://other.example")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("10.0.0.1/255.0.0.0", "10.0.0.0/8"),
        ("fd00::1/8", "fd00::/8"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/33", "10.0.0.0/8 or"),
        ("10.0.0", "10.0.0.0/8 or"),
        ("proxy.example", "10.0.0.0/8 or"),
        ("*", "10.0.0.0/8 or"),
    ],
)
def test_networks_that_never_match(network: str, said: str) -> None:
    """A network that never matches is refused with the right spelling."""
    assert said in refusal("gateway_trusted_networks", f"192.168.0.0/16,{network}")


def test_networks() -> None:
    """IPv4 and IPv6 networks and single addresses are accepted."""
    settings = chosen(gateway_trusted_networks="10.0.0.0/8, fd00::/8, 192.168.1.1, ::1")

    assert list(map(str, settings.gateway_trusted_networks)) == ["10.0.0.0/8", "fd00::/8", "192.168.1.1/32", "::1/128"]


@pytest.mark.parametrize(
    "target",
    ["localhost:50051", "ingest:50051", "127.0.0.1:50051", "[::1]:50051", "dns:///ingest:50051",
     "unix:/run/ingest.sock", "ingest:50051,ingest:50052",
     "10.0.0.1:50051,[::1]:50051", "ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv6:[::1]:50051"],
)  # fmt: skip
def test_targets(target: str) -> None:
    """A target is a host with a port, several of them, or has one of gRPC's schemes."""
    assert chosen(ingest_target=target).ingest_target == target


@pytest.mark.parametrize(
    "target",
    ["", "localhost", "localhost:", ":50051", "localhost:0", "localhost:65536", "::1:50051", "[::1]", "http://ingest:50051",
     "ingest:50051/", "in gest:50051", "ingest:50051,", "ingest:50051, ingest:50052", "ingest:50051,dns:///ingest:50052",
     ",".join(["ingest:50051"] * 65)],
)  # fmt: skip
def test_bad_targets(target: str) -> None:
    """The gateway refuses to start with a target that can never be reached."""
    assert refusal("ingest_target", target)
