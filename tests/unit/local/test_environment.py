"""Child processes inherit only chosen variables, and no connection to the processes of this machine uses a proxy."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from local.processes.direct import answers_http
from local.processes.program import Child, Program, child_environment
from local.settings import ROOT
from local.setup.steps import run

# What a user may have set for other programs; each of them would change how a child process works.
HOSTILE = {
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "grpc_proxy": "http://127.0.0.1:9",
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONPATH": "/nowhere",
    "PYTHONWARNINGS": "error",
    "CLASSPATH": "/nowhere",
    "JAVA_TOOL_OPTIONS": "-Xmx1m",
    "NODE_OPTIONS": "--nothing",
    "CLICKHOUSE_USER": "nobody",
    "CLICKHOUSE_PASSWORD": "secret",
    "KAFKA_HEAP_OPTS": "-Xmx1m",
}
CHOSEN = {"UGC_KAFKA_TOPIC": "other", "SSL_CERT_FILE": "/etc/ca.pem", "TZ": "Europe/Moscow", "TMPDIR": "/tmp"}  # noqa: S108 -- never used
PRODUCT = ("common", "services", "gateway", "etl", "db", "local")


def test_what_a_child_inherits() -> None:
    """A child inherits the settings and what it needs to find programs, nothing else; its locale is UTF-8."""
    inherited = child_environment({**HOSTILE, **CHOSEN, "PATH": "/bin"}, {"UGC_ETL_GROUP": "group"})

    assert inherited == {**CHOSEN, "PATH": "/bin", "LC_ALL": "C.UTF-8", "UGC_ETL_GROUP": "group"}


def test_a_started_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A started program has that environment, in a folder with any name."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "папка для журналов & more"
    folder.mkdir()
    code = "import json, os, pathlib; pathlib.Path('письмо.json').write_text(json.dumps(dict(os.environ)))"
    child = Child(Program("child", (sys.executable, "-c", code), folder / "child.log", directory=folder))
    assert child.process.wait(60) == 0
    child.stop()

    seen = json.loads((folder / "письмо.json").read_text())
    assert {name: seen[name] for name in HOSTILE if name in seen} == {"LC_ALL": "C.UTF-8"}


def test_set_up_keeps_the_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools that download get the user's proxies, and a locale in which Java opens any path."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    run(["sh", "-c", 'echo "$http_proxy $LC_ALL"'], tmp_path / "log")

    assert (tmp_path / "log").read_text() == f"{HOSTILE['http_proxy']} C.UTF-8\n"


def test_make_chooses_the_locale() -> None:
    """Whatever the user's locale, `make up` and `make test` run in one in which every path can be read."""
    asked = ["make", "--no-print-directory", "--eval=shown: ; @echo $$LC_ALL", "shown"]
    environment = {**os.environ, "LC_ALL": "C"}
    shown = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert shown == "C.UTF-8\n"


def test_a_probe_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe reaches a server of this machine although the environment names a proxy that does not exist."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert answers_http(url, 30)
        thread.join()
    assert not answers_http(url, 30)


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    """Find the calls of a function or method by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name in (getattr(node.func, "attr", ""), getattr(node.func, "id", "")):
            yield node


def test_no_connection_asks_for_a_proxy() -> None:
    """No module of the product calls urlopen, and each that opens a gRPC channel disables the proxy."""
    modules = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    sources = {path: path.read_text(encoding="utf-8") for path in modules}
    openers = {path for path, text in sources.items() if list(calls(ast.parse(text), "insecure_channel"))}

    assert [path for path, text in sources.items() if list(calls(ast.parse(text), "urlopen"))] == []
    assert [path for path in openers if not {"DIRECT_CHANNEL", "grpc.enable_http_proxy"} & words(sources[path])] == []


def words(text: str) -> set[str]:
    """Return the names and string constants of a module."""
    nodes = list(ast.walk(ast.parse(text)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
