"""What the Helm chart renders: pods with no more rights than they need, which survive a drain, probed and balanced."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from common.commands import product_version
from deploy.helm.rendering import CHART, GOLDENS, goldens, run_helm
from tests.support.charts.manifests import (
    LONG_RUNNING,
    RELEASES,
    VALUES_FILES,
    container,
    manifests,
    needs_helm,
    of_kind,
    pods,
    rendered,
    values_file,
    variables,
)


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


def test_the_user_can_be_left_to_the_cluster(tmp_path: Path) -> None:
    """A field of the security context that is null is left out, and the others remain."""
    nothing = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    found = pods(rendered(values_file(tmp_path, {"podSecurityContext": nothing})))["etl"]["securityContext"]

    assert found.keys() & nothing.keys() == set()
    assert found["runAsNonRoot"] is True


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
