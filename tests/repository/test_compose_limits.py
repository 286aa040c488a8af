"""Limits, exact versions and health checks of every service in the compose file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from etl.alive import Heartbeat, heartbeat_problem
from local.settings import ROOT
from tests.repository.test_compose import PROCESSES, SERVICES

# These end by themselves, and the others wait for that.
ONE_SHOT = {"migrate", "cluster-migrate", "secure-migrate", "secure-kafka-users", "secure-clickhouse-users"}
EXACT = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?")
RUN_SECONDS_MAX = 60


def test_limits() -> None:
    """Every service has a memory limit and a limit of processes."""
    limited = {
        name
        for name, service in SERVICES.items()
        if re.fullmatch(r"[1-9]\d*[mg]", str(service.get("mem_limit"))) and 0 < service.get("pids_limit", 0) <= 4_096
    }

    assert limited == set(SERVICES)


def test_health() -> None:
    """Every long-running service has a complete health check, and is restarted when it ends."""
    parts = {"test", "interval", "timeout", "retries", "start_period"}
    checked = {
        name
        for name, service in SERVICES.items()
        if parts <= set(service.get("healthcheck", ())) and service["restart"] == "unless-stopped"
    }

    assert checked == set(SERVICES) - ONE_SHOT
    assert {SERVICES[name]["restart"].partition(":")[0] for name in ONE_SHOT} == {"on-failure"}


def test_versions() -> None:
    """Every image from a registry has an exact version."""
    images = {service["image"] for name, service in SERVICES.items() if name not in PROCESSES}
    bases = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))

    assert len(images) == 5
    assert [image for image in images | bases if not EXACT.fullmatch(image)] == []


def test_wget_asks_no_proxy() -> None:
    """A probe by wget runs without the proxies that Docker may configure for a container."""
    checks = {name: service.get("healthcheck", {}).get("test", []) for name, service in SERVICES.items()}
    asking = {name: check for name, check in checks.items() if "wget" in check}

    assert asking
    for name, check in asking.items():
        scheme = check[-1].partition(":")[0]
        wanted = ["env", "-u", f"{scheme}_proxy", "-u", f"{scheme.upper()}_PROXY"]
        assert check[1 : check.index("wget")] == wanted, name


@pytest.mark.parametrize(
    "name",
    [
        *("ingest", "cluster-ingest", "cluster-ingest-more", "secure-ingest"),
        *("gateway", "cluster-gateway", "secure-gateway"),
        *("etl", "etl-1", "etl-2", "secure-etl"),
    ],
)
def test_checks_ask_no_proxy(name: str) -> None:
    """The health check asks the service's management listener, although the environment names a proxy."""
    (listen,) = [text for name, text in SERVICES[name]["environment"].items() if name.endswith("_MANAGEMENT_LISTEN")]
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        _, python, option, code = SERVICES[name]["healthcheck"]["test"]
        code = code.replace(listen.replace("0.0.0.0", "127.0.0.1"), f"127.0.0.1:{server.server_port}")  # noqa: S104 -- replaced
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = subprocess.run(
            [sys.executable, option, code],
            env={"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
        # A check that failed has sent no request: the server must not wait for one.
        if done.returncode:
            server.socket.close()
        thread.join()

    assert (python, done.returncode) == ("python", 0)


class Ready(BaseHTTPRequestHandler):
    """Answers 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def test_clickhouse_users() -> None:
    """Only a user that cannot connect over the network manages access; every other user has a password."""
    users = ET.parse(ROOT / "db" / "cluster" / "users.xml").find("users")  # noqa: S314 -- a file of the repository
    assert users is not None
    for user in users:
        networks = {ip.text for ip in user.iterfind("networks/ip")}
        password = user.find("password")
        assert password is not None
        if networks != {"127.0.0.1", "::1"}:
            assert password.get("from_env") == "CLICKHOUSE_PASSWORD"
            assert user.findtext("access_management") == "0"
    for name in SERVICES:
        if name.startswith("clickhouse"):
            assert SERVICES[name]["environment"]["CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT"] == 0
            assert SERVICES[name]["environment"]["CLICKHOUSE_PASSWORD"].startswith("${CLICKHOUSE_PASSWORD:?")


def test_every_replica_is_asked_with_the_password() -> None:
    """The servers of the cluster connect to each other as the user with the password."""
    server = ET.parse(ROOT / "db" / "cluster" / "server.xml")  # noqa: S314 -- a file of the repository
    replicas = list(server.iterfind("remote_servers/ugc/shard/replica"))

    assert len(replicas) == 4
    for replica in replicas:
        password = replica.find("password")
        assert replica.findtext("user") == "default"
        assert password is not None
        assert password.get("from_env") == "CLICKHOUSE_PASSWORD"


def test_heartbeat(tmp_path: Path) -> None:
    """The file is touched at most once a second, and its age shows whether the loop makes progress."""
    now = 100.0
    path = tmp_path / "alive"
    heartbeat = Heartbeat(str(path), monotonic=lambda: now)
    assert "has not run yet" in heartbeat_problem(str(path), 60)
    heartbeat.beat()
    assert heartbeat_problem(str(path), 60) == ""
    os.utime(path, (1, 1))
    heartbeat.beat()
    assert "has not run for" in heartbeat_problem(str(path), 60)
    now += 1
    heartbeat.beat()
    assert heartbeat_problem(str(path), 60) == ""
    os.utime(path, (time.time() - 61,) * 2)
    assert heartbeat_problem(str(path), 60) == "the etl's loop has not run for 61 s"
    assert heartbeat_problem("", 60) == "UGC_ETL_ALIVE_FILE is not set"
    Heartbeat("").beat()
