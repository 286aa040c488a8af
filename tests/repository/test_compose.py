"""The compose file and the configuration of the servers agree with each other and with the code."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from common.settings import PREFIX, Settings
from db.settings import MigrateSettings
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings
from tests.support.security.profile import SECRETS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
# The schema of compose files, for machines that have Go but not compose.
SCHEMA_MODULE = "github.com/compose-spec/compose-go/v2@v2.16.1"
SECONDS_MAX = 60
SETTINGS: dict[str, type[Settings]] = {
    "ugc-migrate": MigrateSettings,
    "ugc-ingest": IngestSettings,
    "ugc-gateway": GatewaySettings,
    "ugc-etl": EtlSettings,
}
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = {
    "single": {"kafka", "clickhouse", "migrate", "ingest", "gateway", "etl"},
    "observe": {"prometheus", "grafana"},
    "secure": {
        f"secure-{name}"
        for name in ("kafka", "kafka-users", "clickhouse", "clickhouse-users", "migrate", "ingest", "gateway", "etl")
    },
    "cluster": {
        *(f"kafka-{broker}" for broker in (1, 2, 3)),
        *(f"keeper-{keeper}" for keeper in (1, 2, 3)),
        *(f"clickhouse-{shard}-{replica}" for shard in (1, 2) for replica in (1, 2)),
        *("cluster-migrate", "cluster-ingest", "cluster-ingest-more", "cluster-gateway", "etl-1", "etl-2"),
    },
}
PROCESSES = sorted(name for name, service in SERVICES.items() if "build" in service)
XML_FILES = sorted((ROOT / "db" / "cluster").glob("*.xml"))
PUBLISHED = ["127.0.0.1:8123:8123", "50051:50051", "8000:8000"]
PORTS = {
    "single": PUBLISHED,
    "cluster": PUBLISHED,
    "observe": ["127.0.0.1:3000:3000", "127.0.0.1:9090:9090"],
    "secure": ["127.0.0.1:8443:8443", *PUBLISHED[1:]],
}
# What the profile `secure` mounts of the repository.
SECURE = [
    *(ROOT / "deploy" / "secure" / name for name in ("clickhouse.xml", "kafka_admin.properties", "kafka_users.sh")),
    ROOT / "db" / "clickhouse" / "roles.sql",
]
# What the profile `observe` mounts.
OBSERVE = [
    *(ROOT / "deploy" / "prometheus" / name for name in ("prometheus.yml", "rules.yml")),
    *(ROOT / "deploy" / "grafana" / name for name in ("provisioning", "dashboards")),
]


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """Find a compose on this machine: the one that .ci/run builds, Docker's plug-in, or the old program."""
    for command in ((str(ROOT / ".local" / "docker-compose"),), ("docker", "compose"), ("docker-compose",)):
        try:
            subprocess.run([*command, "version"], capture_output=True, check=True, timeout=SECONDS_MAX)
        except (OSError, subprocess.SubprocessError):
            continue
        return command
    return None


def ask_compose(*arguments: str) -> str:
    """Run compose on the file, without the user's variables; skip where compose is not installed."""
    command = compose_command()
    if command is None:
        pytest.skip("neither .local/docker-compose nor `docker compose` is installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", PREFIX))}
    done = subprocess.run(
        [*command, "--project-directory", str(ROOT), "--file", str(COMPOSE_FILE), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("profiles", "arguments"),
    [
        (("single",), ()),
        (("cluster",), ("--profile", "cluster")),
        (("secure",), ("--profile", "secure")),
        (("single", "observe"), ("--profile", "single", "--profile", "observe")),
        (("cluster", "observe"), ("--profile", "cluster", "--profile", "observe")),
    ],
)
def test_config(profiles: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Compose accepts every profile, alone and observed; without a profile it starts the single node."""
    ask_compose(*arguments, "config", "-q")

    wanted = set().union(*(PROFILES[profile] for profile in profiles))
    assert set(ask_compose(*arguments, "config", "--services").split()) == wanted


def test_schema() -> None:
    """The file follows the compose specification's schema."""
    import jsonschema  # type: ignore[import-untyped]  # it carries no types

    jsonschema.validate(COMPOSE, json.loads(schema_file().read_text(encoding="utf-8")))


def schema_file() -> Path:
    """Download the schema with Go, which verifies it; skip where Go is not installed or is offline."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed, which downloads the compose specification's schema")
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", SCHEMA_MODULE],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            timeout=SECONDS_MAX,
        )
    except subprocess.SubprocessError as error:
        pytest.skip(f"Go did not download the compose specification's schema: {error}")
    return Path(json.loads(done.stdout)["Dir"]) / "schema" / "compose-spec.json"


def test_profiles_stand_alone() -> None:
    """Every service is in one profile, together with every service that it depends on."""
    for profile, names in PROFILES.items():
        assert {name for name, service in SERVICES.items() if service["profiles"] == [profile]} == names
        for name in names:
            assert set(SERVICES[name].get("depends_on", {})) <= names
    assert sum(map(len, PROFILES.values())) == len(SERVICES)


@pytest.mark.parametrize("profile", PROFILES)
def test_ports(profile: str) -> None:
    """Every size publishes the three endpoints, each once; only this machine reaches what observes them."""
    published = [port for name in PROFILES[profile] for port in SERVICES[name].get("ports", [])]

    assert sorted(published) == PORTS[profile]


def test_volumes() -> None:
    """Every store has its own volume, and every declared volume is used by a store; processes mount only secrets."""
    sources = [source for name in SERVICES for source, _ in mounts(name) if not source.startswith(".")]
    without_secrets = {name for name in SERVICES if any(not source.startswith(SECRETS) for source, _ in mounts(name))}

    assert sorted(sources) == sorted(COMPOSE["volumes"])
    assert without_secrets == set(SERVICES) - set(PROCESSES)


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every UGC_ variable of a service is a setting of its process, with a value that the process accepts."""
    # test_compose_secure.py tests those of `secure`, which name files.
    for name in sorted(set(PROCESSES) - PROFILES["secure"]):
        settings, environment = SETTINGS[SERVICES[name]["command"][0]], SERVICES[name]["environment"]

        assert set(environment) <= {PREFIX + field.upper() for field in settings.model_fields}, name
        with monkeypatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, str(value))
            settings()


def test_no_other_variables() -> None:
    """Every UGC_ variable of the file is in an environment that the test above checks."""
    known = {variable for name in PROCESSES for variable in SERVICES[name]["environment"]}
    comments_cut = re.sub(r"#.*", "", COMPOSE_FILE.read_text(encoding="utf-8"))

    assert set(re.findall(rf"\b{PREFIX}\w+", comments_cut)) == known


def test_mounted_files_exist() -> None:
    """What a service mounts is in the repository or a secret, and every file of db/cluster is mounted."""
    sources = {source for name in SERVICES for source, _ in mounts(name) if source.startswith(".")}
    mounted = {ROOT / source for source in sources if not source.startswith(SECRETS)}

    assert mounted == {*XML_FILES, *OBSERVE, *SECURE}
    assert all(path.exists() for path in mounted)


def test_xml() -> None:
    """ClickHouse's configuration is well-formed, and every variable that it reads is set where it is mounted."""
    for path in XML_FILES:
        root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 -- a file of this repository
        wanted = {variable for element in root.iter() if (variable := element.get("from_env"))}

        assert root.tag == "clickhouse", path.name
        for name, service in SERVICES.items():
            if f"./{path.relative_to(ROOT)}" in [source for source, _ in mounts(name)]:
                assert wanted <= set(service["environment"]), f"{path.name} in {name}"


def mounts(name: str) -> list[tuple[str, str]]:
    """Return the source and the target of each mount of a service."""
    found = []
    for volume in SERVICES[name].get("volumes", []):
        source, target, *_ = (
            (volume["source"], volume["target"]) if isinstance(volume, dict) else str(volume).split(":")
        )
        found.append((source, target))
    return found
