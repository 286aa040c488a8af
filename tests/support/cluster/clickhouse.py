"""A replica of the cluster, with the product's own server.xml and users.xml."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from common.settings import Address
from local.clickhouse import server
from local.clickhouse.server import clickhouse_program, library
from local.processes.program import Program
from local.settings import ROOT
from tests.support.cluster.layout import HOST, Member
from tests.support.cluster.replica_host import READY

PRODUCT = ROOT / "db" / "cluster"
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
# Merged after the product's file: what the command line and the image give elsewhere, and pools for one machine.
# clickhouse-local logs everything when it logs to the console.
LAST = """\
<clickhouse>
    <logger><console>0</console></logger>
    <interserver_http_port>{interserver}</interserver_http_port>
    <mark_cache_size>67108864</mark_cache_size>
    <max_server_memory_usage>2000000000</max_server_memory_usage>
    <background_pool_size>2</background_pool_size>
    <background_fetches_pool_size>2</background_fetches_pool_size>
    <background_common_pool_size>2</background_common_pool_size>
    <background_schedule_pool_size>8</background_schedule_pool_size>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <query_log remove="1"/>
    <part_log remove="1"/>
    <opentelemetry_span_log remove="1"/>
</clickhouse>
"""


def replica_program(member: Member, folder: Path, endpoints: Mapping[str, str]) -> Program:
    """Return the server; its data and its logs are in the folder.

    `endpoints` maps the `host:port` of each server and keeper of the product's file to its address here.
    """
    native, http, interserver = (member.ports[purpose] for purpose in ("native", "http", "interserver"))
    plain = clickhouse_program(folder, native, http)

    def prepare() -> None:
        (folder / READY).unlink(missing_ok=True)
        write_configuration(folder, interserver, endpoints)
        plain.prepare()

    options = plain.argv[plain.argv.index(str(library())) + 1 :]
    return replace(
        plain,
        name=member.name,
        argv=(
            *(sys.executable, "-m", "tests.support.cluster.replica_host"),
            *(str(library()), str(http), str(interserver)),
            *options,
        ),
        environment={**plain.environment, **member.environment},
        listens={purpose: Address(HOST, port) for purpose, port in member.ports.items()},
        prepare=prepare,
        ready=lambda: (folder / READY).exists() and plain.ready(),
        ready_seconds_max=READY_SECONDS_MAX,
        stop_seconds_max=STOP_SECONDS_MAX,
    )


def write_configuration(folder: Path, interserver: int, endpoints: Mapping[str, str]) -> None:
    """Write the files that ClickHouse merges with its configuration and its users."""
    for configuration, source in ((server.CONFIGURATION, "server.xml"), (server.USERS, "users.xml")):
        merged = folder / f"{Path(configuration).stem}.d"
        merged.mkdir(parents=True, exist_ok=True)
        text = (PRODUCT / source).read_text(encoding="utf-8")
        (merged / "product.xml").write_text(with_endpoints(text, endpoints), encoding="utf-8")
    last = folder / f"{Path(server.CONFIGURATION).stem}.d" / "this-machine.xml"
    last.write_text(LAST.format(interserver=interserver), encoding="utf-8")


def with_endpoints(text: str, endpoints: Mapping[str, str]) -> str:
    """Return the product's configuration with the hosts and ports of this machine."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines[:-1]):
        host, port = element(line, "host"), element(lines[number + 1], "port")
        if here := endpoints.get(f"{host}:{port}"):
            new_host, _, new_port = here.partition(":")
            lines[number] = line.replace(f"<host>{host}</host>", f"<host>{new_host}</host>")
            lines[number + 1] = lines[number + 1].replace(f"<port>{port}</port>", f"<port>{new_port}</port>")
    return "".join(lines)


def element(line: str, name: str) -> str:
    """Return the content of a line that is one element; empty if it is not that element."""
    text = line.strip()
    before, after = f"<{name}>", f"</{name}>"
    return text.removeprefix(before).removesuffix(after) if text.startswith(before) and text.endswith(after) else ""
