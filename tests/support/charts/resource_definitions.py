"""The CustomResourceDefinitions of the operators that the chart can use, from their own packages."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

SECONDS_MAX = 120
# Go modules that have the definitions of an operator, the folder in which they are, and those that the chart needs.
MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases",
        ("keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml"),
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd",
        ("monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_prometheusrules.yaml"),
    ),
}


class Loader(yaml.SafeLoader):
    """Reads `=` as a text, as YAML 1.2 does."""


yaml.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value, Loader)


@functools.cache
def definitions() -> tuple[dict[str, Any], ...]:
    """Return those of KEDA and the prometheus-operator; skip where Go cannot download them."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed, which downloads the definitions of custom resources")
    found = []
    for module, (folder, names) in MODULES.items():
        done = subprocess.run(
            ["go", "mod", "download", "-json", module],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=SECONDS_MAX,
        )
        if done.returncode:
            pytest.skip(f"Go did not download {module}: {done.stdout}{done.stderr}")
        place = Path(json.loads(done.stdout)["Dir"], folder)
        found += [yaml.load((place / name).read_text(encoding="utf-8"), Loader) for name in names]  # noqa: S506 -- a safe one
    return tuple(found)


def strict_schemas(definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each version of a definition, which refuses unknown keys, by its file name."""
    spec = definition["spec"]
    group, kind = spec["group"].partition(".")[0], spec["names"]["kind"].lower()
    return {
        f"{kind}-{group}-{version['name']}.json": strict(version["schema"]["openAPIV3Schema"], is_root=True)
        for version in spec["versions"]
    }


def strict(schema: dict[str, Any], *, is_root: bool = False) -> dict[str, Any]:
    """Return a schema that refuses keys which it does not name, as the API server does with strict validation."""
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: strict(each) for name, each in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    if is_root:
        # The metadata of an object are not declared in detail.
        found["properties"]["metadata"] = {"type": "object"}
    if isinstance(found.get("items"), dict):
        found["items"] = strict(found["items"])
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = strict(found["additionalProperties"])
    return found
