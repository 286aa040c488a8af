"""The number of workers: what the setting accepts, how many `auto` is, and the shares of limits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from common.workers import setting
from common.workers.setting import usable_cpus
from gateway.settings import DIVIDED as GATEWAY_DIVIDED
from gateway.settings import GatewaySettings
from services.ingest.settings import DIVIDED as INGEST_DIVIDED
from services.ingest.settings import IngestSettings

KINDS = {"UGC_INGEST_WORKERS": IngestSettings, "UGC_GATEWAY_WORKERS": GatewaySettings}
MODULES = {"UGC_INGEST_WORKERS": "services.ingest", "UGC_GATEWAY_WORKERS": "gateway"}


def workers(variable: str, value: str, patch: pytest.MonkeyPatch, **others: str) -> int:
    """Return the number that a process reads from its environment."""
    for name, text in {variable: value, **others}.items():
        patch.setenv(name, text)
    settings = KINDS[variable]()
    return int(getattr(settings, variable.removeprefix("UGC_").lower()))


@pytest.mark.parametrize("variable", KINDS)
def test_values(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is that number, without a value it is 1, and `auto` is the number of CPUs."""
    assert workers(variable, "", monkeypatch) == 1
    assert workers(variable, "3", monkeypatch) == 3
    monkeypatch.setattr(setting, "usable_cpus", lambda: 5)
    assert workers(variable, "auto", monkeypatch) == 5


@pytest.mark.parametrize("variable", KINDS)
@pytest.mark.parametrize("value", ["0", "-1", "257", "1.5", "two", "AUTO", "9" * 5_000])
def test_bad_values(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other value is refused."""
    with pytest.raises(ValidationError, match=r"must be (a number )?from 1 to 256, or auto"):
        workers(variable, value, monkeypatch)


@pytest.mark.parametrize("variable", KINDS)
def test_bad_value_stops_the_process(variable: str) -> None:
    """A process with a bad value ends with status 2 and names the setting."""
    ended = subprocess.run(
        [sys.executable, "-m", MODULES[variable]],
        env={**os.environ, variable: "many"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"bad setting {variable}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", KINDS)
def test_only_one_elsewhere(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that does not spread connections over processes, there is one worker and no more."""
    monkeypatch.setattr(setting, "IS_SUPPORTED", False)
    assert workers(variable, "auto", monkeypatch) == 1
    with pytest.raises(ValidationError, match="more than 1 needs Linux"):
        workers(variable, "2", monkeypatch)


@pytest.mark.parametrize(
    ("variable", "limit", "share_min"),
    [
        ("UGC_INGEST_WORKERS", "UGC_INGEST_REQUESTS_MAX", 1),
        ("UGC_INGEST_WORKERS", "UGC_INGEST_BYTES_IN_FLIGHT_MAX", 8_388_608),
        ("UGC_INGEST_WORKERS", "UGC_INGEST_CONNECTIONS_MAX", 1),
        ("UGC_INGEST_WORKERS", "UGC_INGEST_QUEUE_EVENTS_MAX", 1),
        ("UGC_INGEST_WORKERS", "UGC_INGEST_QUEUE_KILOBYTES_MAX", 1_024),
        ("UGC_GATEWAY_WORKERS", "UGC_GATEWAY_LARGE_BODIES_MAX", 1),
        ("UGC_GATEWAY_WORKERS", "UGC_GATEWAY_CONCURRENCY_MAX", 1),
        ("UGC_GATEWAY_WORKERS", "UGC_GATEWAY_BYTES_IN_FLIGHT_MAX", 16_777_216),
        ("UGC_GATEWAY_WORKERS", "UGC_GATEWAY_CONNECTIONS_MAX", 1),
    ],
)
def test_smallest_share(variable: str, limit: str, share_min: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit can be divided as long as each share is possible; `auto` divides it no further."""
    monkeypatch.setattr(setting, "usable_cpus", lambda: 64)
    limits = {limit: str(share_min * 4 - 1)}
    assert workers(variable, "3", monkeypatch, **limits) == 3
    assert workers(variable, "auto", monkeypatch, **limits) == 3
    with pytest.raises(ValidationError, match=re.escape(f"4 workers are too many for {limit}: ")):
        workers(variable, "4", monkeypatch, **limits)


def test_one_worker_has_the_whole() -> None:
    """A limit that cannot be divided does not prevent the only process from starting, and it keeps all limits."""
    settings = IngestSettings(ingest_requests_max=1)
    assert settings.ingest_workers == 1
    assert settings.share() == settings


def test_shares() -> None:
    """Each worker has an equal share of the divided limits, and the other settings as they are."""
    ingest, gateway = IngestSettings(ingest_workers=3), GatewaySettings(gateway_workers=3)
    for settings, divided in ((ingest, INGEST_DIVIDED), (gateway, GATEWAY_DIVIDED)):
        before, after = settings.model_dump(), settings.share().model_dump()
        names = {each.name for each in divided}
        assert {name for name in before if before[name] != after[name]} == names
        assert {name: after[name] for name in names} == {name: before[name] // 3 for name in names}


def control_groups(root: Path, membership: str, files: dict[str, str]) -> Path:
    """Write a file system with control groups."""
    files = {"proc/self/cgroup": membership, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "1600000 100000"}, 8),
        # The quota of a group that contains the process's own.
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        # A path of the host, which does not exist in a container.
        ("0::/docker/1", {"cpu.max": "200000 100000"}, 2),
        (
            "2:cpu,cpuacct:/a\n1:name=systemd:/b",
            {"cpu/a/cpu.cfs_quota_us": "600000", "cpu/a/cpu.cfs_period_us": "100000"},
            6,
        ),
        ("2:cpu,cpuacct:/a", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("2:cpuset:/a", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_quotas(
    membership: str, files: dict[str, str], cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPUs that a process may use are limited by its affinity, 8 here, and by each quota of version 1 or 2."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert usable_cpus(control_groups(tmp_path, membership, files)) == cpus


def test_affinity() -> None:
    """A process with a smaller affinity may use as many CPUs."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from common.workers.setting import usable_cpus; print(usable_cpus())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "1\n"
    assert usable_cpus() <= len(os.sched_getaffinity(0))
