"""What the Helm chart can render beside the processes: monitoring, policies, autoscaling, topic and users."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from db.kafka.layout import TopicLayout
from deploy.helm.rendering import ROOT, ChartError
from tests.support.charts.manifests import (
    LONG_RUNNING,
    Manifest,
    container,
    manifests,
    needs_helm,
    of_kind,
    pods,
    rendered,
    values_file,
    variables,
)

PERMISSIONS_PAGE = ROOT / "docs" / "operating" / "permissions.md"
PERMISSION = re.compile(r"^\| `ugc-(\w+)` \| (topic|group) \| ([A-Z_]+) \|", re.MULTILINE)
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def without_links(rules: Any) -> list[Any]:
    """Return the rules without their links into the documentation."""
    groups: list[Any] = json.loads(json.dumps(rules["groups"]))
    for rule in (each for group in groups for each in group["rules"]):
        rule.get("annotations", {}).pop("runbook_url", None)
    return groups


def test_rules_are_the_file() -> None:
    """The PrometheusRule has the project's rules, with links into the operator's documentation."""
    (rule,) = of_kind(manifests("autoscaled"), "PrometheusRule").values()
    links = {
        each["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    }

    assert without_links(rule["spec"]) == without_links(yaml.safe_load(RULES.read_text(encoding="utf-8")))
    assert {link.partition("#")[0] for link in links} == {"https://wiki.example/ugc-events/docs/operating/runbook.md"}


def test_dashboards_are_the_files() -> None:
    """Each dashboard is in a ConfigMap with the label that Grafana's sidecar selects by."""
    maps = [each for name, each in of_kind(manifests("autoscaled"), "ConfigMap").items() if "dashboard" in name]
    found = {name: text for each in maps for name, text in each["data"].items()}

    assert {name: json.loads(text) for name, text in found.items()} == {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS
    }
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} == {"1"}


def test_every_process_is_scraped() -> None:
    """Prometheus finds the management port of each pod, by a Service of its own, as the job that alerts expect."""
    found = manifests("autoscaled")
    services, monitors = of_kind(found, "Service"), of_kind(found, "ServiceMonitor")
    assert set(monitors) == LONG_RUNNING
    for process, monitor in monitors.items():
        service = services[f"{process}-management"]
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = service["spec"]["ports"]
        selected = [
            name for name, each in services.items() if matches(monitor["spec"]["selector"]["matchLabels"], each)
        ]

        assert selected == [f"{process}-management"]
        assert endpoint["port"] == port["name"] == "management"
        assert {"name": "management", "containerPort": port["port"]} in container(pods(found)[process])["ports"]
        assert [each["replacement"] for each in endpoint["relabelings"]] == [f"ugc-{process}"]
    for process in ("ingest", "gateway"):
        assert "management" not in str(services[process]["spec"]["ports"])


def matches(labels: dict[str, str], manifest: Manifest) -> bool:
    """Whether a manifest has the labels."""
    own: dict[str, str] = manifest["metadata"]["labels"]
    return labels.items() <= own.items()


def allowed(policy: Manifest, direction: str) -> dict[int, list[Any]]:
    """Return the peers that a policy allows, by port; an empty list is everybody."""
    peer = {"ingress": "from", "egress": "to"}[direction]
    return {port["port"]: rule.get(peer, []) for rule in policy["spec"][direction] for port in rule["ports"]}


def test_policies() -> None:
    """Each process may connect to what it calls, and is reached by those that call it, and by no other."""
    policies = of_kind(manifests("secure"), "NetworkPolicy")
    assert set(policies) == {*LONG_RUNNING, "migrate"}
    assert {name: set(allowed(each, "egress")) for name, each in policies.items()} == {
        "gateway": {53, 50051},
        "ingest": {53, 9093},
        "etl": {53, 9093, 9440},
        "migrate": {53, 9093, 9440},
    }
    assert {name: set(allowed(each, "ingress")) for name, each in policies.items()} == {
        "gateway": {8000, 9465},
        "ingest": {50051, 9464},
        "etl": {9466},
        "migrate": set(),
    }
    for process, policy in policies.items():
        restricted = {port: peers for way in ("ingress", "egress") for port, peers in allowed(policy, way).items()}
        assert [port for port, peers in restricted.items() if not peers] == [53], process
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == process
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_policy_of_the_job_comes_before_it() -> None:
    """The policy of ugc-migrate is a hook with a lower weight than the job."""
    annotations = of_kind(manifests("secure"), "NetworkPolicy")["migrate"]["metadata"]["annotations"]

    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(annotations["helm.sh/hook-weight"]) < 0


@pytest.mark.parametrize("process", ["ingest", "gateway"])
def test_scaled_by_cpu(process: str) -> None:
    """The HPA decides the number of pods alone, and compares with a CPU that is requested."""
    found = manifests("autoscaled")
    scaler = of_kind(found, "HorizontalPodAutoscaler")[process]["spec"]

    assert "replicas" not in of_kind(found, "Deployment")[process]["spec"]
    assert scaler["scaleTargetRef"]["name"] == f"ugc-{process}"
    assert "cpu" in container(pods(found)[process])["resources"]["requests"]


def test_scaled_by_lag() -> None:
    """KEDA reads the lag of the etl's own group and topic, and starts no more etl than there are partitions."""
    found = manifests("autoscaled")
    scaler = of_kind(found, "ScaledObject")["etl"]["spec"]
    of_etl, of_migrate = variables(pods(found)["etl"]), variables(pods(found)["migrate"])
    (trigger,) = scaler["triggers"]

    assert "replicas" not in of_kind(found, "Deployment")["etl"]["spec"]
    assert scaler["maxReplicaCount"] == int(of_migrate["UGC_KAFKA_PARTITIONS"])
    assert trigger["metadata"]["bootstrapServers"] == of_etl["UGC_KAFKA_BOOTSTRAP_SERVERS"]
    assert (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"]) == ("ugc-etl", "ugc.events")
    assert {type(text) for text in trigger["metadata"].values()} == {str}


def test_topic() -> None:
    """The topic of Strimzi is what ugc-migrate would create, and survives the release."""
    topic = of_kind(manifests("strimzi"), "KafkaTopic")["events"]
    layout = TopicLayout(24, 3, 2, 168)

    assert (topic["spec"]["partitions"], topic["spec"]["replicas"]) == (layout.partitions, layout.replication_factor)
    assert {name: str(value) for name, value in topic["spec"]["config"].items()} == layout.configuration()
    assert topic["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "helm.sh/hook" not in topic["metadata"]["annotations"]


def test_users() -> None:
    """Each user may do what the page on permissions lists for its process, and nothing else."""
    documented: set[tuple[str, str, str]] = set(PERMISSION.findall(PERMISSIONS_PAGE.read_text(encoding="utf-8")))
    users = of_kind(manifests("strimzi"), "KafkaUser")
    granted = {
        (process, acl["resource"]["type"], re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper())
        for process, user in users.items()
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }
    names = {acl["resource"]["name"] for user in users.values() for acl in user["spec"]["authorization"]["acls"]}

    assert len(documented) > len(LONG_RUNNING)
    assert granted == documented
    assert names == {"ugc.events", "ugc-etl"}


def test_scaler_authenticates() -> None:
    """KEDA gets the user, password and authority of the etl, from the same Secrets."""
    found = manifests("secure", "--set", "etl.autoscaling.enabled=true")
    (trigger,) = of_kind(found, "ScaledObject")["etl"]["spec"]["triggers"]
    authentication = of_kind(found, "TriggerAuthentication")["etl"]["spec"]
    parameters = {
        each["parameter"]: (each["name"], each["key"])
        for each in (*authentication["secretTargetRef"], *authentication["configMapTargetRef"])
    }

    assert (trigger["metadata"]["tls"], trigger["metadata"]["sasl"]) == ("enable", "scram_sha512")
    assert trigger["authenticationRef"] == {"name": "ugc-etl"}
    assert parameters == {
        "ca": ("kafka-cluster-ca-cert", "ca.crt"),
        "password": ("ugc-etl", "password"),
        "username": ("ugc-etl-scaler", "username"),
    }
    assert of_kind(found, "ConfigMap")["etl-scaler"]["data"] == {"username": "ugc-etl"}


def test_strimzi_is_a_release_of_its_own(tmp_path: Path) -> None:
    """The job would wait for users that do not exist yet, so both in one release are an error."""
    needs_helm()
    with pytest.raises(ChartError, match="release of their own"):
        rendered(values_file(tmp_path, {"strimzi": {"enabled": True}}))
