"""A real API server accepts what the Helm chart renders, with strict validation, and refuses what is wrong.

`make test-kubernetes` builds the server; the pods are admitted and not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.helm.rendering import NAMESPACE, VALUES, render
from local.setup.kubernetes import STRIMZI_LIBRARIES
from tests.support.charts.api_server import ApiServer, running_api_server
from tests.support.charts.manifests import RELEASES, VALUES_FILES, Manifest, container, manifests, of_kind, pods
from tests.support.charts.resource_definitions import definitions

CHOSEN = "UGC_TEST_KUBERNETES"
pytestmark = pytest.mark.skipif(not os.environ.get(CHOSEN), reason="make test-kubernetes runs it")
# Of the program that writes Strimzi's definitions.
JAVA_MIN = 21
GENERATOR = "io.strimzi.crdgenerator.CrdGenerator"
STRIMZI = {
    "topic": "io.strimzi.api.kafka.model.topic.KafkaTopic",
    "user": "io.strimzi.api.kafka.model.user.KafkaUser",
}
SECONDS_MAX = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Run an API server that has the definitions of KEDA, the prometheus-operator and Strimzi, and a namespace."""
    folder = tmp_path_factory.mktemp("kubernetes")
    with running_api_server(folder) as started:
        kinds = folder / "definitions.yaml"
        kinds.write_text(yaml.safe_dump_all([*definitions(), *strimzi_definitions(folder)]), encoding="utf-8")
        succeeded(started.apply(kinds))
        succeeded(started.kubectl("wait", "--for=condition=Established", f"--filename={kinds}"))
        namespace = folder / "namespace.yaml"
        namespace.write_text(yaml.safe_dump_all(restricted_namespace()), encoding="utf-8")
        succeeded(started.apply(namespace))
        yield started


def restricted_namespace() -> list[Manifest]:
    """Return a namespace that admits only pods of the standard `restricted`, with its default ServiceAccount."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        # A controller makes it elsewhere.
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}},
    ]


def strimzi_definitions(folder: Path) -> list[Manifest]:
    """Return the definitions of Strimzi's topics and users; none without a Java that can write them."""
    java = recent_java()
    if java is None:
        return []
    files = {name: folder / f"{name}.yaml" for name in STRIMZI}
    command = [java, "-cp", f"{STRIMZI_LIBRARIES}/*", GENERATOR, "--yaml"]
    classes = [f"{kind}={files[name]}" for name, kind in STRIMZI.items()]
    succeeded(subprocess.run([*command, *classes], capture_output=True, text=True, check=False, timeout=SECONDS_MAX))
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files.values()]


def recent_java() -> str | None:
    """Return a Java that is recent enough: that of PATH, or one beside the machine's others."""
    candidates = [shutil.which("java"), *map(str, Path("/usr/lib/jvm").glob("*/bin/java"))]
    return next((each for each in candidates if each and major_version(each) >= JAVA_MIN), None)


def major_version(java: str) -> int:
    """Return the major version of a Java."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command printed, which must have succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(folder: Path, *found: Manifest) -> Path:
    """Write manifests into a file."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(found), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", VALUES_FILES)
def test_accepted(server: ApiServer, name: str, tmp_path: Path) -> None:
    """Everything that a values file renders is accepted, with nothing unknown in it and without a warning."""
    if name == "strimzi" and recent_java() is None:
        pytest.skip(f"the definitions of Strimzi need Java {JAVA_MIN}")
    # Helm deletes the last job before it creates the next one.
    succeeded(server.kubectl("delete", "jobs", "--all", "--namespace", NAMESPACE))
    path = tmp_path / "rendered.yaml"
    path.write_text(render([VALUES / f"{name}.yaml"]), encoding="utf-8")
    done = server.apply(path)

    assert len(succeeded(done).splitlines()) == len(manifests(name))
    assert done.stderr == ""


@pytest.mark.parametrize("name", RELEASES)
def test_pods_are_admitted(server: ApiServer, name: str, tmp_path: Path) -> None:
    """The pods are admitted to a namespace that enforces `restricted`; with another user than that they are not."""
    for process, spec in pods(manifests(name)).items():
        succeeded(server.apply(written(tmp_path, *of_kind(manifests(name), "ServiceAccount").values())))
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-{process}", "namespace": NAMESPACE},
            "spec": spec,
        }
        succeeded(server.apply(written(tmp_path, pod), "--dry-run=server"))
        root = {**pod, "spec": {**spec, "securityContext": {**spec["securityContext"], "runAsUser": 0}}}
        refused = server.apply(written(tmp_path, root), "--dry-run=server")

        assert refused.returncode != 0
        assert 'violates PodSecurity "restricted' in refused.stderr


def misspelled(deployment: Any) -> None:
    """Misspell a key."""
    deployment["spec"]["replica"] = deployment["spec"].pop("replicas")


def slow_to_stop(deployment: Any) -> None:
    """Sleep for longer than the grace."""
    pod = deployment["spec"]["template"]["spec"]
    container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"] = pod["terminationGracePeriodSeconds"] + 1


def selects_no_pod(deployment: Any) -> None:
    """Select other labels than those of the pod."""
    deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] = "other"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (misspelled, "field not declared in schema"),
        (slow_to_stop, "lifecycle.preStop.sleep"),
        (selects_no_pod, "`selector` does not match template `labels`"),
    ],
)
def test_refused(server: ApiServer, change: Callable[[Any], None], reason: str, tmp_path: Path) -> None:
    """An unknown key is refused, and so is what no schema can find."""
    deployment = yaml.safe_load(yaml.safe_dump(of_kind(manifests("minimal"), "Deployment")["gateway"]))
    deployment["metadata"]["name"] = "wrong"
    change(deployment)
    refused = server.apply(written(tmp_path, deployment))

    assert refused.returncode != 0
    assert reason in refused.stderr


@pytest.mark.parametrize(("name", "kind"), [("autoscaled", "ScaledObject"), ("autoscaled", "ServiceMonitor")])
def test_custom_resources_are_checked(server: ApiServer, name: str, kind: str, tmp_path: Path) -> None:
    """An unknown key of a custom resource is refused too."""
    wrong = yaml.safe_load(yaml.safe_dump(next(iter(of_kind(manifests(name), kind).values()))))
    wrong["spec"]["unknown"] = 1
    refused = server.apply(written(tmp_path, wrong))

    assert refused.returncode != 0
    assert "unknown" in refused.stderr
