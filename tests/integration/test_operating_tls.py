"""docs/operating/tls.md followed from its first command to its last: certificates, mTLS on both servers, a renewal."""

from __future__ import annotations

import re
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

from common.settings import Address, parse_address
from local.processes.ports import port_answers
from local.processes.program import running
from local.settings import ROOT
from tests.support.certificates import Pair
from tests.support.clients.tls import answer_to, client_context
from tests.support.documents.pages import blocks, commands, differs
from tests.support.processes.operated import PATH
from tests.support.processes.system import Deployment, await_equal

PAGE = ROOT / "docs" / "operating" / "tls.md"
FOLDER = "/etc/ugc/tls"
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def is_ready(gateway: Address, context: ssl.SSLContext) -> bool:
    """Return whether the gateway answers, and reaches ingest."""
    try:
        return b" 200 " in answer_to(gateway, context, READY)
    except OSError:
        return False


def test_page(kafka: str, topic: str, tmp_path: Path) -> None:
    """Every command works as it is written, with the documented folder and ports replaced."""
    deployment = Deployment(tmp_path, kafka, topic, database="clickhouse://default@127.0.0.1:9/none")
    files = tmp_path / "tls"

    def placed(text: str) -> str:
        ports = text.replace(":50051", f":{deployment.ingest_port}").replace(":8000", f":{deployment.gateway_port}")
        return ports.replace(FOLDER, str(files))

    def shell(text: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", placed(text)],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": PATH, "HOME": str(tmp_path)},
            timeout=60,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    steps = [each for each in commands(PAGE) if each.scenario == "tls"]
    make, *others, renew = steps
    shell(make.text)
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.language == "ini":
            deployment.settings |= dict(re.findall(r"^(\w+)=(.*)$", placed(block.text), re.MULTILINE))
    context = client_context(files / "ca.pem", Pair(files / "client.pem", files / "client.key"), alpn="http/1.1")
    ingest, gateway = parse_address(deployment.ingest_address), parse_address(f"127.0.0.1:{deployment.gateway_port}")
    with (
        running(replace(deployment.ingest(), ready=lambda: port_answers(ingest))),
        running(replace(deployment.gateway(), ready=lambda: is_ready(gateway, context))),
    ):
        for step in others:
            printed = shell(step.text)
            if step.output is not None:
                assert not (difference := differs(step.output, printed)), difference
        shell(renew.text)
        for name in ("ingest", "gateway"):
            await_equal(lambda name=name: "TLS files were reloaded" in deployment.log(name), wanted=True)  # type: ignore[misc]  # bound now
