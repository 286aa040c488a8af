"""What the Helm chart renders: the processes start with it, and have no more rights than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.commands import product_version
from common.settings import PREFIX
from deploy.helm.processes import PROCESSES
from deploy.helm.rendering import CHART, GOLDENS, ChartError, goldens, run_helm
from tests.support.charts.manifests import (
    RELEASES,
    VALUES_FILES,
    container,
    manifests,
    mounted,
    needs_helm,
    of_kind,
    pods,
    rendered,
    variables,
)

LONG_RUNNING = {"ingest", "gateway", "etl"}
PATH = re.compile(r"/etc/ugc/[\w./-]+")


@pytest.mark.parametrize("name", VALUES_FILES)
def test_lint(name: str) -> None:
    """Helm finds nothing to criticise in the chart with each values file."""
    needs_helm()
    assert "0 chart(s) failed" in run_helm(
        "lint", "--strict", str(CHART), "--values", f"deploy/helm/values/{name}.yaml"
    )


def test_goldens() -> None:
    """The golden files are what Helm renders now."""
    needs_helm()
    assert {path.name: path.read_text(encoding="utf-8") for path in GOLDENS.iterdir()} == goldens()


def test_version() -> None:
    """The chart has the version of the product."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert {chart["version"], chart["appVersion"]} == {product_version()}


@pytest.mark.parametrize("name", RELEASES)
def test_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each process accepts its variables, all of which are settings of it; every file that one names is mounted."""
    found = pods(manifests(name))
    assert set(found) == {*LONG_RUNNING, "migrate"}
    for process, pod in found.items():
        kind = PROCESSES[process].settings
        given = variables(pod)
        named = {path for text in given.values() for path in PATH.findall(text)}

        assert {each["name"] for each in container(pod)["env"]} - {"POD_IP"} <= {
            PREFIX + field.upper() for field in kind.model_fields
        }
        assert named == set(mounted(pod))
        with monkeypatch.context() as patch:
            for variable, text in given.items():
                patch.setenv(variable, with_files(text, tmp_path))
            kind()


def with_files(text: str, folder: Path) -> str:
    """Return a value whose files lie in a folder of the test."""
    return PATH.sub(lambda match: str(folder / Path(match[0]).name), text)


@pytest.mark.parametrize("name", RELEASES)
def test_restricted(name: str) -> None:
    """Every pod satisfies the Pod Security Standard `restricted`, and has neither a token nor a writable root."""
    for process, pod in pods(manifests(name)).items():
        of_pod, of_container = pod["securityContext"], container(pod)["securityContext"]

        assert of_pod["runAsNonRoot"] is True, process
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}, process
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }, process
        assert pod["automountServiceAccountToken"] is False, process
        assert "memory" in container(pod)["resources"]["limits"], process


@pytest.mark.parametrize("name", RELEASES)
def test_no_variables_of_services(name: str) -> None:
    """Kubernetes adds no variables for Services, whose names begin with UGC_ when the release's does."""
    assert {pod["enableServiceLinks"] for pod in pods(manifests(name)).values()} == {False}


@pytest.mark.parametrize("name", RELEASES)
def test_probes(name: str) -> None:
    """Probes call the management listener, which listens on the pod's address; liveness depends on no other process."""
    found = pods(manifests(name))
    for process in LONG_RUNNING:
        ports = {each["name"]: each["containerPort"] for each in container(found[process])["ports"]}
        probes = {
            each: container(found[process])[f"{each}Probe"]["httpGet"] for each in ("startup", "liveness", "readiness")
        }

        assert (
            variables(found[process])[f"UGC_{process.upper()}_MANAGEMENT_LISTEN"] == f"10.1.2.3:{ports['management']}"
        )
        assert {each["port"] for each in probes.values()} == {"management"}
        assert {each: get["path"] for each, get in probes.items()} == {
            "startup": "/livez",
            "liveness": "/livez",
            "readiness": "/readyz",
        }


@pytest.mark.parametrize("name", RELEASES)
def test_every_process_survives_a_drain(name: str) -> None:
    """Each process has a disruption budget, a spread over zones and nodes, and a new pod before an old one ends."""
    found = manifests(name)
    budgets = of_kind(found, "PodDisruptionBudget")
    for process, deployment in of_kind(found, "Deployment").items():
        spec = deployment["spec"]
        selector = spec["selector"]["matchLabels"]

        assert budgets[process]["spec"]["selector"]["matchLabels"] == selector
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()
        assert {each["topologyKey"] for each in spec["template"]["spec"]["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_no_token_of_the_account() -> None:
    """The ServiceAccount of the processes gives no token."""
    (account,) = of_kind(manifests("minimal"), "ServiceAccount").values()

    assert account["automountServiceAccountToken"] is False


def test_migration_comes_first() -> None:
    """The job runs before an installation and an upgrade, and gives up at once after a wrong setting."""
    (job,) = of_kind(manifests("minimal"), "Job").values()
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    # What does not exist before the first installation cannot be used.
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]


def test_calls_are_balanced() -> None:
    """The gateway finds every pod of ingest by the name of a Service that has no address of its own."""
    found = manifests("minimal")
    service = of_kind(found, "Service")["ingest"]
    ports = [each["port"] for each in service["spec"]["ports"]]

    assert service["spec"]["clusterIP"] == "None"
    assert variables(pods(found)["gateway"])["UGC_INGEST_TARGET"] == f"dns:///ugc-ingest.cinema.svc:{ports[0]}"


def test_ports_follow_settings(tmp_path: Path) -> None:
    """A listener that is moved takes ports, Services, policies and the gateway's target with it."""
    found = rendered(
        values_file(tmp_path, {"ingest": {"settings": {"UGC_INGEST_LISTEN": "0.0.0.0:6000"}}}),
        "--set",
        "networkPolicy.enabled=true",
    )
    policy = of_kind(found, "NetworkPolicy")["gateway"]["spec"]["egress"]

    assert variables(pods(found)["gateway"])["UGC_INGEST_TARGET"].endswith(":6000")
    assert of_kind(found, "Service")["ingest"]["spec"]["ports"][0]["port"] == 6000
    assert [6000] in [[port["port"] for port in rule["ports"]] for rule in policy]


def test_given_twice(tmp_path: Path) -> None:
    """A setting in two forms is an error that names it; one of a process replaces one of all processes."""
    needs_helm()
    variable, secret = "UGC_CLICKHOUSE_URL", {"existingSecret": "clickhouse", "key": "url"}
    twice = {"settings": {variable: "clickhouse://a/ugc"}, "secretSettings": {variable: secret}}
    with pytest.raises(ChartError, match=f"{variable} of etl is given twice: in settings and in secretSettings"):
        rendered(values_file(tmp_path, {"etl": twice}))
    found = rendered(
        values_file(tmp_path, {"settings": twice["settings"], "etl": {"secretSettings": twice["secretSettings"]}})
    )
    (given,) = [each for each in container(pods(found)["etl"])["env"] if each["name"] == variable]

    assert given["valueFrom"]["secretKeyRef"] == {"name": "clickhouse", "key": "url"}
    assert variables(pods(found)["migrate"])[variable] == "clickhouse://a/ugc"


def test_texts_are_kept(tmp_path: Path) -> None:
    """Large numbers, booleans and texts reach a process as they are written."""
    settings = {
        "UGC_INGEST_BYTES_IN_FLIGHT_MAX": 68_719_476_736,
        "UGC_INGEST_LINGER_SECONDS": 0.001,
        "UGC_INGEST_DEBUG": False,
        "UGC_INGEST_AUTH_ISSUER": "a $(POD_IP) 'b' \"c\"",
    }
    found = variables(pods(rendered(values_file(tmp_path, {"ingest": {"settings": settings}})))["ingest"])

    assert {name: found[name] for name in settings} == {
        "UGC_INGEST_BYTES_IN_FLIGHT_MAX": "68719476736",
        "UGC_INGEST_LINGER_SECONDS": "0.001",
        "UGC_INGEST_DEBUG": "false",
        "UGC_INGEST_AUTH_ISSUER": settings["UGC_INGEST_AUTH_ISSUER"],
    }


def test_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With IPv6 every address is in brackets, and the processes accept them."""
    for process, pod in pods(rendered(values_file(tmp_path, {}), "--set", "ipv6=true")).items():
        with monkeypatch.context() as patch:
            for variable, text in variables(pod).items():
                patch.setenv(variable, text.replace("10.1.2.3", "fd00::1"))
            listen = [field for field in type(PROCESSES[process].settings()).model_fields if field.endswith("_listen")]
            settings = PROCESSES[process].settings()
            assert {getattr(settings, field).host for field in listen} <= {"::", "fd00::1"}


def values_file(folder: Path, values: dict[str, Any]) -> Path:
    """Write a values file, and return its path."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
