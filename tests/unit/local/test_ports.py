"""Every port that the local system needs is checked before anything starts."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from common.settings import Address, parse_address
from local.processes.errors import PortBusyError
from local.processes.ports import FREE_PORTS, FreePorts, Listener, free_port, refuse_busy_ports
from local.settings import UpSettings
from local.up.system import LocalSystem

PORTS = {
    "UGC_LOCAL_KAFKA_PORT": "kafka",
    "UGC_LOCAL_KAFKA_CONTROLLER_PORT": "kafka",
    "UGC_LOCAL_CLICKHOUSE_PORT": "clickhouse",
    "UGC_LOCAL_CLICKHOUSE_HTTP_PORT": "clickhouse",
    "UGC_INGEST_LISTEN": "ingest",
    "UGC_GATEWAY_LISTEN": "gateway",
}
# How another process may listen on a port.
HOLDERS: dict[str, Callable[[int], socket.socket]] = {
    "IPv4": lambda port: socket.create_server(("127.0.0.1", port)),
    "IPv6 and IPv4": lambda port: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True),
}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that starts the local system with settings, on free ports otherwise."""
    monkeypatch.setattr("local.kafka.files.java", lambda *_, **__: ("false",))
    monkeypatch.setattr("local.clickhouse.server.library", lambda: tmp_path)

    def start(settings: dict[str, str]) -> None:
        monkeypatch.setenv("UGC_LOCAL_DIRECTORY", str(tmp_path / "local"))
        for name in PORTS:
            host = "127.0.0.1:" if name.endswith("LISTEN") else ""
            monkeypatch.setenv(name, settings.get(name, f"{host}{free_port()}"))
        LocalSystem(UpSettings(), Console(), threading.Event(), 0.0).run(check=True)

    return start


@pytest.mark.parametrize("family", HOLDERS)
@pytest.mark.parametrize("setting", PORTS)
def test_busy_port(start: Callable[..., None], tmp_path: Path, setting: str, family: str) -> None:
    """A held port of any process is one line, with the process that holds it; nothing has been started."""
    port = free_port()
    value = f"127.0.0.1:{port}" if setting.endswith("LISTEN") else str(port)
    with HOLDERS[family](port), pytest.raises(PortBusyError) as refused:
        start({setting: value})

    line = str(refused.value)
    assert line.startswith(f"{PORTS[setting]} cannot listen on 127.0.0.1:{port}: the port is held by process ")
    assert f"process {os.getpid()} (" in line
    assert line.endswith(f"choose another port with {setting}")
    assert [path.name for path in (tmp_path / "local").iterdir()] == ["running.env"]


@pytest.mark.parametrize("family", HOLDERS)
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::1]", "localhost"])  # noqa: S104 -- the default among them
def test_busy_address(host: str, family: str) -> None:
    """The same for every way to write an address, also where the holder has only one of its addresses."""
    port = free_port()
    listener = Listener("gateway", "UGC_GATEWAY_LISTEN", parse_address(f"{host}:{port}"))
    if (host, family) == ("[::1]", "IPv4"):
        with HOLDERS[family](port):
            refuse_busy_ports([listener])
        return
    with HOLDERS[family](port), pytest.raises(PortBusyError, match="UGC_GATEWAY_LISTEN"):
        refuse_busy_ports([listener])

    refuse_busy_ports([listener])


def test_all_busy_ports(start: Callable[..., None]) -> None:
    """All held ports are named at once."""
    kafka, http = free_port(), free_port()
    with HOLDERS["IPv4"](kafka), HOLDERS["IPv4"](http), pytest.raises(PortBusyError) as refused:
        start({"UGC_LOCAL_KAFKA_PORT": str(kafka), "UGC_LOCAL_CLICKHOUSE_HTTP_PORT": str(http)})

    assert re.findall(r"UGC_\w+", str(refused.value)) == ["UGC_LOCAL_KAFKA_PORT", "UGC_LOCAL_CLICKHOUSE_HTTP_PORT"]


def test_one_port_twice(start: Callable[..., None]) -> None:
    """A port that two settings choose is refused, with both of them."""
    port = free_port()
    with pytest.raises(PortBusyError) as refused:
        start({"UGC_LOCAL_KAFKA_PORT": str(port), "UGC_INGEST_LISTEN": f"0.0.0.0:{port}"})

    assert str(refused.value) == (
        f"kafka and ingest cannot listen on the same port {port}; change UGC_LOCAL_KAFKA_PORT or UGC_INGEST_LISTEN"
    )


def test_not_an_address_of_this_machine() -> None:
    """An address that this machine does not have is refused with the system's reason."""
    with pytest.raises(PortBusyError, match=r"gateway cannot listen on 192\.0\.2\.1:8000: "):
        refuse_busy_ports([Listener("gateway", "UGC_GATEWAY_LISTEN", Address("192.0.2.1", 8000))])
    for host in ("no-such-host.invalid", "empty..label"):
        with pytest.raises(
            PortBusyError, match=rf"gateway cannot listen on {re.escape(host)}:8000: .*UGC_GATEWAY_LISTEN"
        ):
            refuse_busy_ports([Listener("gateway", "UGC_GATEWAY_LISTEN", Address(host, 8000))])


def test_free_ports_of_several_processes() -> None:
    """Processes that search at the same time find different ports, below those of outgoing connections."""
    first_of_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    for part in range(4):
        ports = FreePorts()
        ports.use(part, 4)
        found.append({ports.next() for _ in range(len(FREE_PORTS) // 4)})

    assert len(set.union(*found)) == sum(map(len, found))
    assert max(set.union(*found)) < first_of_outgoing


def test_a_free_port_that_was_taken() -> None:
    """A port that something else uses is left out; without any other the search ends."""
    ports = FreePorts()
    ports.use(0, len(FREE_PORTS) // 2)
    one, other = ports.next(), ports.next()
    with socket.create_server(("127.0.0.1", one)):
        assert {ports.next() for _ in range(3)} == {other}
        with socket.create_server(("127.0.0.1", other)), pytest.raises(OSError, match="are in use"):
            ports.next()
