"""The machine and the versions with which a benchmark ran."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from local.settings import ROOT

PACKAGES = ("aiohttp", "clickhouse-driver", "confluent-kafka", "grpcio", "protobuf", "ptars", "pyarrow", "uvloop")
BENCHMARK_PACKAGES = ("aiokafka", "fastapi", "uvicorn", "httptools")
GIT_SECONDS_MAX = 30
KILOBYTES_A_GIGABYTE = 1_048_576


@dataclass(frozen=True)
class Machine:
    """What the figures of a run depend on; `commit` ends in `+` when files had changed after it."""

    cores: int
    cpu: str
    memory_gigabytes: int
    kernel: str
    python: str
    commit: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=line_of("/proc/cpuinfo", "model name") or platform.machine(),
        memory_gigabytes=round(int((line_of("/proc/meminfo", "MemTotal") or "0").split()[0]) / KILOBYTES_A_GIGABYTE),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        commit=commit(),
        versions=versions(),
    )


def line_of(path: str, name: str) -> str:
    """Return the value of a line `name: value`; empty when there is none."""
    text = Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def commit() -> str:
    """Return the short hash of the commit that is checked out."""
    head, changed = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return head + ("+" if changed else "")


def git(*arguments: str) -> str:
    """Return what git prints; empty outside a clone."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=GIT_SECONDS_MAX
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Return the versions of the servers and of the packages that cost the most."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    lock = (ROOT / "locks" / "bench.txt").read_text(encoding="utf-8")
    found |= dict(re.findall(rf"^({'|'.join(BENCHMARK_PACKAGES)})==(\S+)", lock, re.MULTILINE))
    kafka = re.search(r"kafka_2\.13</artifactId>\s*<version>([^<]+)", (ROOT / "local/kafka/pom.xml").read_text())
    chdb = json.loads((ROOT / "local/clickhouse/package.json").read_text(encoding="utf-8"))
    (clickhouse,) = {str(version) for name, version in dependencies(chdb).items() if "chdb" in name}
    return {"Kafka": kafka[1] if kafka else "", "ClickHouse": clickhouse, **found}


def dependencies(package: dict[str, dict[str, str]]) -> dict[str, str]:
    """Return all dependencies of an npm package."""
    return {**package.get("dependencies", {}), **package.get("optionalDependencies", {})}
