"""Several workers of ingest and of the gateway, as processes: what ends, hangs or stops, and what their port does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.settings import Address
from local.processes.ports import free_port, port_answers
from local.processes.program import Child, Program, always_ready, running
from tests.support.processes.system import Deployment, await_equal
from tests.support.processes.up import alive
from tests.support.processes.workers import connections, lines, serving, workers

MODULES = {"ingest": "services.ingest", "gateway": "gateway"}
COUNT = 2
CONNECTIONS = 32
ALL = list(range(1, COUNT + 1))
END_SECONDS_MAX = 60


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of the server under test."""
    return str(request.param)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """Return the settings of two workers of each server; Kafka and ClickHouse do not run."""
    away = f"127.0.0.1:{free_port()}"
    settings = {"UGC_INGEST_WORKERS": str(COUNT), "UGC_GATEWAY_WORKERS": str(COUNT), "UGC_GATEWAY_DRAIN_SECONDS": "0.1"}
    return Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", settings)


def program(deployment: Deployment, name: str, **settings: str) -> Program:
    """Return a server whose workers all serve when it is ready."""
    found = deployment.program(name, MODULES[name], lambda: sorted(serving(deployment.log(name))) == ALL)
    return replace(found, environment={**found.environment, **settings})


def port(deployment: Deployment, name: str) -> int:
    """Return the port of a server."""
    return {"ingest": deployment.ingest_port, "gateway": deployment.gateway_port}[name]


def failed(started: Program, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Start a server that must end by itself; its log is what it wrote."""
    environment = {**os.environ, **started.environment, **settings}
    with started.log.open("ab") as log:
        return subprocess.run(started.argv, env=environment, stderr=log, timeout=END_SECONDS_MAX, check=False)


@contextlib.contextmanager
def open_connections(address: Address) -> Iterator[None]:
    """Open so many connections that each worker accepts at least one."""
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(address))
        yield


def test_all_serve(deployment: Deployment, name: str) -> None:
    """All workers accept connections to the one port, and each line of their logs has the worker's number."""
    address = Address("127.0.0.1", port(deployment, name))
    with running(program(deployment, name)) as parent, open_connections(address):
        pids = workers(parent.process.pid)
        assert sorted(pids) == ALL
        await_equal(lambda: sum(connections(pid, address.port) for pid in pids.values()), CONNECTIONS)
        assert all(connections(pid, address.port) > 0 for pid in pids.values())

    assert {line.get("worker") for line in lines(deployment.log(name))} == {*ALL}
    assert parent.process.returncode == 0


def test_single_process(deployment: Deployment, name: str) -> None:
    """One worker is the process itself, and its log lines have no number."""
    alone = replace(
        program(deployment, name, **{f"UGC_{name.upper()}_WORKERS": "1"}),
        ready=lambda: '"serving"' in deployment.log(name),
    )
    with running(alone) as child:
        assert workers(child.process.pid) == {}
    assert {"worker"} & {key for line in lines(deployment.log(name)) for key in line} == set()


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "1"), ("2", "2")])
def test_second_instance(deployment: Deployment, name: str, first: str, second: str) -> None:
    """A second server on the same port is refused with status 1 and a line that names the setting."""
    setting, count = f"UGC_{name.upper()}_LISTEN", f"UGC_{name.upper()}_WORKERS"
    one = replace(program(deployment, name), ready=lambda: deployment.log(name).count('"serving"') == int(first))
    other = replace(one, log=deployment.folder / "other.log")
    with running(replace(one, environment={**one.environment, count: first})):
        assert failed(other, **{count: second}).returncode == 1
        (line,) = lines(deployment.log("other"))

    assert (line["event"], line["setting"], line["level"]) == ("cannot serve", setting, "error")
    assert "address already in use" in line["error"].lower()


def test_port_0(deployment: Deployment, name: str) -> None:
    """With port 0 all workers serve on the one port that the system chose."""
    with running(program(deployment, name, **{f"UGC_{name.upper()}_LISTEN": "127.0.0.1:0"})):
        (address,) = {line["address"] for line in lines(deployment.log(name)) if line["event"] == "serving"}
        host, _, chosen = address.partition(":")
        assert port_answers(Address(host, int(chosen)))


def test_killed_worker(deployment: Deployment, name: str) -> None:
    """A worker that dies is replaced, with pauses that grow; the other one goes on."""
    with running(program(deployment, name)) as parent:
        before = workers(parent.process.pid)
        for times in range(2, 5):
            os.kill(workers(parent.process.pid)[1], signal.SIGKILL)
            await_equal(lambda: serving(deployment.log(name)).count(1), times)
            assert workers(parent.process.pid)[2] == before[2]

    failures = [line for line in lines(deployment.log(name)) if line["event"] == "a worker failed, starting another"]
    assert [(line["worker"], line["error"], line["seconds"]) for line in failures] == [
        (1, "was killed by SIGKILL", seconds) for seconds in (0.1, 0.2, 0.4)
    ]


def test_stopped_worker(deployment: Deployment, name: str) -> None:
    """A worker that alone is asked to stop ends in order and is replaced; no error is logged."""
    with running(program(deployment, name)) as parent:
        os.kill(workers(parent.process.pid)[2], signal.SIGTERM)
        await_equal(lambda: serving(deployment.log(name)).count(2), 2)

    found = lines(deployment.log(name))
    assert [line["worker"] for line in found if line["event"] == "a worker stopped, starting another"] == [2]
    assert [line for line in found if line["level"] == "error"] == []


def test_hung_worker(deployment: Deployment, name: str) -> None:
    """A worker that does not answer its parent is killed and replaced."""
    with running(program(deployment, name, UGC_LOOP_SECONDS_MAX="3")) as parent:
        os.kill(workers(parent.process.pid)[1], signal.SIGSTOP)
        await_equal(lambda: serving(deployment.log(name)).count(1), 2)

    killed = [line for line in lines(deployment.log(name)) if line["event"] == "a worker is killed"]
    # On a busy machine the other worker may be late too.
    assert (1, "does not answer") in [(line["worker"], line["reason"]) for line in killed]


def test_killed_parent(deployment: Deployment, name: str) -> None:
    """Workers do not outlive their parent, not even a parent that was killed, and the port is free again."""
    with running(program(deployment, name)) as parent:
        pids = list(workers(parent.process.pid).values())
        parent.process.kill()
        await_equal(lambda: alive(pids), [])
    with running(replace(program(deployment, name), log=deployment.folder / "again.log", ready=always_ready)) as again:
        await_equal(lambda: serving(deployment.log("again")), ALL)
        assert again.process.poll() is None


def test_stopped_worker_of_a_killed_parent(deployment: Deployment, name: str) -> None:
    """Linux ends even a worker that cannot notice by itself that its parent was killed."""
    with running(program(deployment, name)) as parent:
        pid = workers(parent.process.pid)[2]
        os.kill(pid, signal.SIGSTOP)
        parent.process.kill()
        await_equal(lambda: alive([pid]), [])


def test_failing_start(deployment: Deployment) -> None:
    """What no worker can serve ends all with the worker's status and one message, as a single process ends."""
    started = program(deployment, "gateway", UGC_GATEWAY_DESCRIPTORS=str(deployment.folder / "missing"))
    assert failed(started).returncode == 2

    (line,) = deployment.log("gateway").splitlines()
    assert line.startswith("bad setting UGC_GATEWAY_DESCRIPTORS: ")


def test_gateway_in_front_of_workers(deployment: Deployment) -> None:
    """A single gateway process has a connection to each worker of ingest, and to one that replaces another."""
    single = deployment.program("gateway", "gateway")
    single = replace(single, environment={**single.environment, "UGC_GATEWAY_WORKERS": "1"})
    with running(program(deployment, "ingest")) as ingest, running(single):

        def connected() -> list[bool]:
            pids = workers(ingest.process.pid).values()
            return [connections(pid, deployment.ingest_port) > 0 for pid in pids]

        await_equal(connected, [True] * COUNT)
        os.kill(workers(ingest.process.pid)[1], signal.SIGKILL)
        await_equal(lambda: serving(deployment.log("ingest")).count(1), 2)
        await_equal(connected, [True] * COUNT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_during_start(deployment: Deployment, name: str, number: signal.Signals) -> None:
    """A stop signal while the workers start ends all of them with status 0."""
    child = Child(replace(program(deployment, name), ready=always_ready))
    try:
        await_equal(lambda: bool(workers(child.process.pid)), wanted=True)
        pids = list(workers(child.process.pid).values())
        child.process.send_signal(number)
        assert child.process.wait(END_SECONDS_MAX) == 0
        assert alive(pids) == []
    finally:
        child.stop()
    assert deployment.log(name) == ""
