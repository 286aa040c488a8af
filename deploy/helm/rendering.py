"""What `helm template` renders for each values file; tests/golden/helm has it, so that a change can be reviewed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
CHART = FOLDER / "ugc-events"
VALUES = FOLDER / "values"
GOLDENS = ROOT / "tests" / "golden" / "helm"
RELEASE, NAMESPACE = "ugc", "cinema"
SECONDS_MAX = 60
# What is a copy of a file of the repository is replaced by the file's name.
RULES = re.compile(r"(kind: PrometheusRule\n.*?\nspec:\n).*\Z", re.DOTALL)
DASHBOARD = re.compile(r"(\ndata:\n  (\w+\.json): \|\n).*\Z", re.DOTALL)


class ChartError(Exception):
    """Helm refused the chart or the values; the text is Helm's."""


def helm() -> str | None:
    """Return the Helm that the set-up installed, or that of the machine; None if there is none."""
    installed = ROOT / ".local" / "bin" / "helm"
    return str(installed) if installed.exists() else shutil.which("helm")


def run_helm(*arguments: str) -> str:
    """Run Helm and return what it prints; ChartError when it fails."""
    command = [helm() or "helm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS_MAX)
    if done.returncode:
        raise ChartError(done.stdout + done.stderr)
    return done.stdout


def render(values: Sequence[Path], *options: str) -> str:
    """Return the manifests for values files."""
    files = [option for path in values for option in ("--values", str(path))]
    return run_helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *files, *options)


def goldens() -> dict[str, str]:
    """Return the text of each golden file, by its name."""
    return {path.name: without_copies(render([path])) for path in sorted(VALUES.glob("*.yaml"))}


def without_copies(manifests: str) -> str:
    """Return manifests without the rules and dashboards, which are files of the repository."""
    documents = []
    # Versions of Helm differ in empty lines.
    lines = "".join(line for line in manifests.splitlines(keepends=True) if line.strip())
    for document in lines.split("\n---\n"):
        text = RULES.sub(r"\1  # deploy/prometheus/rules.yml", document)
        documents.append(DASHBOARD.sub(r"\1    # deploy/grafana/dashboards/\2", text))
    return "\n---\n".join(documents).rstrip() + "\n"
