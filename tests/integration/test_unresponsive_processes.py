"""A gateway or ingest with a blocked event loop exits by itself, a suspended one is killed; each is restarted."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from common.settings import parse_address
from local.processes import liveness
from local.processes.ports import free_port
from local.processes.program import Program
from local.processes.supervisor import Supervisor
from local.up import probes
from local.up.probes import gateway_answers, ingest_answers
from tests.support.inputs.events import documented
from tests.support.processes.system import Deployment, await_equal, ingest_stub, post

# As the modules' own main, except that a call blocks the event loop.
GATEWAY = """
import threading
from gateway.app import Gateway

async def stand_still(*_):
    threading.Event().wait()

Gateway._call = stand_still
from gateway.process import main
main()
"""
INGEST = """
import threading
from services.ingest.servicer import IngestServicer

async def stand_still(*_):
    threading.Event().wait()

IngestServicer.produce = stand_still
from services.ingest.process import main
main()
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """Return the addresses of the processes; the stores do not run, as neither process needs them to answer."""
    away = f"127.0.0.1:{free_port()}"
    return Deployment(tmp_path, away, "topic", f"clickhouse://default@{away}/ugc", {"UGC_LOOP_SECONDS_MAX": "5"})


def programs(deployment: Deployment, *, stand_still: bool) -> dict[str, Program]:
    """Return both programs, with the probes of `make up`."""
    gateway, ingest = parse_address(f"127.0.0.1:{deployment.gateway_port}"), parse_address(deployment.ingest_address)
    asks = {"gateway": lambda: gateway_answers(gateway), "ingest": lambda: ingest_answers(ingest)}
    modules = {"gateway": ("gateway", GATEWAY), "ingest": ("services.ingest", INGEST)}
    found = {}
    for name, (module, code) in modules.items():
        program = deployment.program(name, module, asks[name])
        argv = (sys.executable, "-c", code) if stand_still else program.argv
        found[name] = replace(program, argv=argv, alive=asks[name])
    return found


def call(deployment: Deployment, name: str) -> None:
    """Make the call that blocks the loop; it is never answered."""
    if name == "gateway":
        assert post(f"{deployment.gateway_url}/api/v1/produce", b"{}") == (0, None)
        return
    with ingest_stub(deployment.ingest_address) as stub, pytest.raises(grpc.RpcError):
        stub.Produce(documented(), timeout=60)


@pytest.mark.parametrize("name", ["gateway", "ingest"])
def test_blocked_loop(deployment: Deployment, name: str) -> None:
    """A call that blocks the loop ends the process after the limit; the log shows the blocking line."""
    said: list[str] = []
    program = programs(deployment, stand_still=True)[name]
    assert program.alive is not None
    with Supervisor(said.append) as supervisor:
        supervisor.start([program])
        caller = threading.Thread(target=call, args=(deployment, name))
        caller.start()
        await_equal(supervisor.children[0].process.poll, 1)
        caller.join()
        supervisor.check()
        await_equal(program.alive, wanted=True)

    assert [line.partition("; started")[0] for line in said] == [f"{name} ended with status 1"]
    assert "in stand_still" in deployment.log(name)


@pytest.mark.parametrize("name", ["gateway", "ingest"])
def test_suspended(deployment: Deployment, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended process, which cannot even exit, is killed by its supervisor and restarted."""
    monkeypatch.setattr(liveness, "PROBE_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(probes, "ANSWER_SECONDS_MAX", 1.0)
    said: list[str] = []
    program = programs(deployment, stand_still=False)[name]
    assert program.alive is not None
    with Supervisor(said.append) as supervisor:
        supervisor.start([program])
        supervisor.children[0].process.send_signal(signal.SIGSTOP)
        await_equal(lambda: bool(supervisor.liveness.hung), wanted=True)
        supervisor.check()
        await_equal(program.alive, wanted=True)

    assert said[0] == f"{name} runs and does not answer; it is killed"
