"""A ClickHouse server on this machine, from the library that npm installs; its data survive kill -9."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from common.settings import Address
from local.processes.direct import answers_http
from local.processes.errors import ProgramError
from local.processes.program import Program
from local.settings import ROOT

HERE = ROOT / "local" / "clickhouse"
HOST = "127.0.0.1"
# Relative to the working directory: ClickHouse copies names from the environment into its XML unescaped, where & is
# special. Only the path of the data is absolute, because ClickHouse opens it from other directories too.
DATA, CONFIGURATION, USERS = "data", "local.xml", "users.xml"
PROBE_SECONDS_MAX = 1.0
# clickhouse-local keeps `system` in memory; with a definition on disk it stores query_log and part_log.
SYSTEM_DATABASE = "ATTACH DATABASE system UUID '8d1d3a5e-0f6c-4a8b-9a5e-0c2f4b6d8e01' ENGINE = Atomic\n"


def clickhouse_program(directory: Path, port: int, http_port: int) -> Program:
    """Return the server; its data and logs are in `directory`. `port` is for the native protocol."""
    return Program(
        name="clickhouse",
        argv=(
            sys.executable,
            "-m",
            "local.clickhouse.host",
            str(library()),
            f"--path={directory / DATA}",
            f"--config-file={CONFIGURATION}",
            f"--listen_host={HOST}",
            f"--tcp_port={port}",
            f"--http_port={http_port}",
        ),
        log=directory / "clickhouse-host.log",
        environment={
            "TZ": "UTC",
            "UGC_CLICKHOUSE_USERS": USERS,
            "UGC_CLICKHOUSE_LOG": "clickhouse.log",
            "UGC_CLICKHOUSE_ERROR_LOG": "clickhouse-error.log",
        },
        # ClickHouse's format_schema_path too.
        directory=directory,
        listens={
            "UGC_LOCAL_CLICKHOUSE_PORT": Address(HOST, port),
            "UGC_LOCAL_CLICKHOUSE_HTTP_PORT": Address(HOST, http_port),
        },
        prepare=lambda: prepare(directory),
        ready=lambda: answers_http(f"http://{HOST}:{http_port}/ping", PROBE_SECONDS_MAX),
    )


def prepare(directory: Path) -> None:
    """Write the server's configuration, and the definition of its system database if the data are new."""
    system = directory / DATA / "metadata" / "system.sql"
    if not system.exists():
        system.parent.mkdir(parents=True, exist_ok=True)
        system.write_text(SYSTEM_DATABASE)
    for name in (CONFIGURATION, USERS):
        shutil.copyfile(HERE / "config" / name, directory / name)


def library() -> Path:
    """Return the library that npm installed for this platform."""
    found = sorted((HERE / "node_modules" / "@chdb").glob("lib-*/libchdb.so"))
    if not found:
        raise ProgramError("ClickHouse's library is not installed: run `make up`, which installs it")
    return found[0]
