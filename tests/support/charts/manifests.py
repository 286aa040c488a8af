"""The rendered manifests of the chart as tests read them, and the variables that a process gets by them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from deploy.helm.rendering import VALUES, helm, render

Manifest: TypeAlias = dict[str, Any]

# An address of the kind that a pod gets.
POD_IP = "10.1.2.3"
VALUES_FILES = sorted(path.stem for path in VALUES.glob("*.yaml"))
# Those that run processes.
LONG_RUNNING = {"ingest", "gateway", "etl"}
RELEASES = [name for name in VALUES_FILES if name != "strimzi"]


def needs_helm() -> None:
    """Skip the test where Helm is not installed."""
    if helm() is None:
        pytest.skip("Helm is not installed: the set-up has it for Linux on x86-64")


@functools.cache
def manifests(name: str, *options: str) -> tuple[Manifest, ...]:
    """Return the manifests of a values file, with further options of Helm."""
    needs_helm()
    return tuple(each for each in yaml.safe_load_all(render([VALUES / f"{name}.yaml"], *options)) if each)


def rendered(path: Path, *options: str) -> tuple[Manifest, ...]:
    """Return the manifests of a values file of a test."""
    needs_helm()
    return tuple(each for each in yaml.safe_load_all(render([path], *options)) if each)


def of_kind(found: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """Return the manifests of a kind, by name without the release's."""
    return {each["metadata"]["name"].removeprefix("ugc-"): each for each in found if each["kind"] == kind}


def pods(found: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """Return the specs of the pods, by process."""
    owners = {**of_kind(found, "Deployment"), **of_kind(found, "Job")}
    return {name: owner["spec"]["template"]["spec"] for name, owner in owners.items()}


def container(pod: Manifest) -> Manifest:
    """Return the only container of a pod."""
    (only,) = pod["containers"]
    return dict(only)


def variables(pod: Manifest) -> dict[str, str]:
    """Return the variables that have a text, with the pod's address in its place, as the kubelet writes them."""
    found = {}
    for each in container(pod).get("env", ()):
        if "value" in each:
            found[each["name"]] = each["value"].replace("$$(", "\0").replace("$(POD_IP)", POD_IP).replace("\0", "$(")
    return found


def mounted(pod: Manifest) -> Iterator[str]:
    """Yield the path of each file that is mounted from a Secret or ConfigMap."""
    places = {each["name"]: each["mountPath"] for each in container(pod)["volumeMounts"]}
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            for item in (source.get("secret") or source["configMap"])["items"]:
                yield f"{places[volume['name']]}/{item['path']}"


def values_file(folder: Path, values: dict[str, Any]) -> Path:
    """Write a values file, and return its path."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
