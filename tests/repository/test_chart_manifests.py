"""The rendered manifests follow the schemas of Kubernetes, KEDA and the prometheus-operator, by kubeconform."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from deploy.helm.rendering import ROOT
from tests.support.charts.manifests import VALUES_FILES, Manifest, manifests
from tests.support.charts.resource_definitions import definitions, strict_schemas

# The oldest version that Chart.yaml allows, and the newest one known.
VERSIONS = ["1.30.0", "1.37.0"]
SECONDS_MAX = 60
# Its definitions need a Java program: `make test-kubernetes` has them.
ELSEWHERE = "KafkaTopic,KafkaUser"
# The files of kubernetes-validate for the kinds of Kubernetes that the chart renders.
SCHEMAS = (
    "_definitions.json",
    "configmap-v1.json",
    "deployment-apps-v1.json",
    "horizontalpodautoscaler-autoscaling-v2.json",
    "job-batch-v1.json",
    "networkpolicy-networking-v1.json",
    "poddisruptionbudget-policy-v1.json",
    "service-v1.json",
    "serviceaccount-v1.json",
)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the schemas into a folder: those of Kubernetes by version, and those of custom resources."""
    folder = tmp_path_factory.mktemp("schemas")
    for definition in definitions():
        for name, schema in strict_schemas(definition).items():
            (folder / name).write_text(json.dumps(schema), encoding="utf-8")
    source = files("kubernetes_validate") / "kubernetes-json-schema"
    for version in VERSIONS:
        (folder / version).mkdir()
        for name in SCHEMAS:
            text = (source / f"v{version}-local-strict" / name).read_text(encoding="utf-8")
            # kubeconform looks for what a reference names beside the file.
            relative = re.sub(r'"\$id": "[^"]*",?', "", text).replace("/api/_definitions.json", "_definitions.json")
            (folder / version / name).write_text(re.sub(r",\s*}\s*$", "}", relative), encoding="utf-8")
    return folder


def problems(found: tuple[Manifest, ...], version: str, schemas: Path, folder: Path) -> list[str]:
    """Return what kubeconform finds in manifests; skip where it is not installed."""
    built = ROOT / ".local" / "bin" / "kubeconform"
    program = str(built) if built.exists() else shutil.which("kubeconform")
    if program is None:
        pytest.skip("kubeconform is not installed: .ci/run builds it with Go")
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(found), encoding="utf-8")
    locations = [
        f"-schema-location={place}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        for place in (schemas / version, schemas)
    ]
    done = subprocess.run(
        [program, "-strict", "-summary", "-output=json", f"-skip={ELSEWHERE}", *locations, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    report = json.loads(done.stdout)
    checked = sum(each["kind"] not in ELSEWHERE for each in found)
    assert sum(report["summary"][each] for each in ("valid", "invalid", "errors")) == checked
    return [f"{each['kind']} {each['name']}: {each['msg']}" for each in report["resources"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES_FILES)
def test_schemas(name: str, version: str, schemas: Path, tmp_path: Path) -> None:
    """Every manifest is known to its schema, with no unknown key."""
    assert problems(manifests(name), version, schemas, tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("Deployment", "replica"),
        ("NetworkPolicy", "egres"),
        ("ScaledObject", "trigger"),
        ("ServiceMonitor", "endpoint"),
    ],
)
def test_an_unknown_key_is_found(kind: str, key: str, schemas: Path, tmp_path: Path) -> None:
    """A misspelled key is found, also in a custom resource."""
    wrong = next(each for each in manifests("autoscaled") if each["kind"] == kind)
    wrong = {**wrong, "spec": {**wrong["spec"], key: 1}}

    (problem,) = problems((wrong,), VERSIONS[-1], schemas, tmp_path)
    assert key in problem
