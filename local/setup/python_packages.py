"""The virtual environment: exactly the locked Python packages, checked by hash, installed by uv.

uv is the user's own when it is on PATH and recent enough. Otherwise pip installs the locked uv into the environment.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from local.setup.steps import ROOT, Step, run

VENV = ROOT / ".venv"
BENCHMARKS = ROOT / ".local" / "bench" / "environment"
# The oldest uv with which the commands below were tried.
UV_MIN = (0, 5, 0)
# Exists in an environment while packages are installed: what an interrupted installation leaves is not complete.
INCOMPLETE = "incomplete"
# Where pip's settings and uv's variables are the same. uv does not read pip's configuration, and a machine without uv
# may be configured for pip alone: for a company's mirror, or its certificate authority.
PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


def python_step(lock: str, environment: Path = VENV) -> Step:
    """Return the step that installs the packages of a lock: `run.txt`, or `dev.txt`, which includes the other."""
    name, proof = {"run.txt": ("python packages", "ugc-up"), "dev.txt": ("python test packages", "pytest")}[lock]
    inputs = ROOT / "locks" / lock, ROOT / "locks" / "uv.txt", ROOT / "pyproject.toml"
    return Step(name, inputs, (environment / "bin" / proof,), lambda log: install(lock, environment, log))


def benchmark_step(environment: Path = BENCHMARKS) -> Step:
    """Return the step that installs what the benchmarks compare with, and their profiler, without the project."""
    inputs = ROOT / "locks" / "bench.txt", ROOT / "locks" / "uv.txt"
    outputs = (environment / "bin" / "py-spy",)
    return Step(
        "benchmark packages", inputs, outputs, lambda log: install("bench.txt", environment, log, project=False)
    )


def install(lock: str, environment: Path, log: Path, *, project: bool = True) -> None:
    """Make the environment hold exactly the packages of a lock, and the project itself unless it is left out."""
    uv, variables = prepared_uv(environment, log)
    (environment / INCOMPLETE).touch()
    python = ["--python", str(environment / "bin" / "python")]
    run([uv, "pip", "sync", *python, "--require-hashes", f"locks/{lock}"], log, variables)
    if project:
        # For the project nothing is fetched: the lock has its build tools.
        run([uv, "pip", "install", *python, "--offline", "--no-deps", "--no-build-isolation", "--editable", "."], log)
    (environment / INCOMPLETE).unlink()


def prepared_uv(environment: Path, log: Path) -> tuple[str, dict[str, str]]:
    """Make the environment again if it is not usable; return a uv and the variables that it needs."""
    usable = is_usable(environment)
    if not usable:
        remove(environment)
    own = shutil.which("uv")
    if own and uv_version(own) >= UV_MIN:
        if not usable:
            run([own, "venv", "--python", sys.executable, str(environment)], log)
        return own, {}
    locked = str(environment / "bin" / "uv")
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    if not usable or uv_version(locked) < UV_MIN:
        run([sys.executable, "-m", "venv", "--clear", str(environment)], log)
        (environment / INCOMPLETE).touch()
        run([*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", "locks/uv.txt"], log)
    return locked, uv_variables(output_of([*pip, "config", "list"]), os.environ)


def remove(environment: Path) -> None:
    """Remove whatever is in the place of an environment; of a symbolic link, only the link."""
    if environment.is_symlink() or environment.is_file():
        environment.unlink()
    elif environment.exists():
        shutil.rmtree(environment)


def is_usable(environment: Path) -> bool:
    """Whether an environment is complete, stands where it was made, and has the Python that runs this."""
    python, activate = environment / "bin" / "python", environment / "bin" / "activate"
    if (environment / INCOMPLETE).exists() or not python.exists() or not activate.exists():
        return False
    if str(environment) not in activate.read_text(encoding="utf-8"):
        return False
    return output_of([str(python), "-c", "import sys; print(sys.version)"]) == sys.version


def uv_version(uv: str) -> tuple[int, ...]:
    """Return the version of a uv; empty when it cannot be run."""
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", output_of([uv, "--version"]))
    return tuple(map(int, found.groups())) if found else ()


def uv_variables(settings: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Translate the output of `pip config list` into variables of uv, except for those that the user has set."""
    variables: dict[str, str] = {}
    # The later section has precedence, as in pip.
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.(\S+?)=(.+)$", settings, re.MULTILINE):
            if name in PIP_SETTINGS and PIP_SETTINGS[name] not in environment:
                variables[PIP_SETTINGS[name]] = " ".join(str(ast.literal_eval(value)).split())
    if "UV_INDEX" in variables:
        # pip takes the best match of all its indexes; the hashes in the lock make that safe.
        variables.setdefault("UV_INDEX_STRATEGY", environment.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    return variables


def output_of(command: list[str]) -> str:
    """Return what a command prints; empty when it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
