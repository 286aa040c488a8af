"""Sets a fresh machine up: `python3 local/setup.py run|test`. Standard library only: nothing is installed yet.

Each step is skipped when its inputs have not changed since it last succeeded, so a second run takes no time.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCAL = ROOT / ".local"
VENV = ROOT / ".venv"
STATIC = ROOT / "gateway" / "openapi" / "static"
PYTHON_MIN = (3, 11)
JAVA_MIN = 17
HEARTBEAT_SECONDS = 10
STEP_SECONDS_MAX = 1_800
LOG_TAIL_LINES = 15
# In the locale C, Java cannot open a file whose path has a letter beyond ASCII. Everything else of the environment is
# the user's: the tools that download must find the proxy and the registries that the user has set.
LOCALE = {"LC_ALL": "C.UTF-8"}
# What shells make of a process that SIGINT ended.
INTERRUPTED = 130


class SetupError(Exception):
    """The machine lacks something, or a step failed; the text is one clear message for the user."""


class Step(NamedTuple):
    """One thing to install: its name, what it depends on, and how."""

    name: str
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    install: Callable[[Path], None]


def main() -> int:
    """Check the prerequisites, then run the steps that are due, side by side; status 1 with a message on failure."""
    lock = {"run": "run.txt", "test": "dev.txt"}[sys.argv[1] if len(sys.argv) > 1 else "run"]
    local_kafka = is_local("UGC_KAFKA_BOOTSTRAP_SERVERS", lock)
    local_clickhouse = is_local("UGC_CLICKHOUSE_URL", lock)
    try:
        check_prerequisites(local_kafka=local_kafka)
        steps = [python_step(lock), page_step()]
        steps += [kafka_step()] if local_kafka else []
        steps += [clickhouse_step()] if local_clickhouse else []
        run_steps([step for step in steps if is_due(step)])
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("set-up: interrupted; it goes on from here the next time\n")
        return INTERRUPTED
    return 0


def is_local(variable: str, lock: str) -> bool:
    """Whether a server is to run here: the user has named none, or there are tests to run, which bring their own."""
    return lock == "dev.txt" or not os.environ.get(variable)


def check_prerequisites(*, local_kafka: bool) -> None:
    """Raise SetupError for the first program that is missing or too old, with the command that installs it."""
    if sys.version_info[:2] < PYTHON_MIN:
        raise SetupError("Python 3.11 or newer is needed; install it with: apt-get install python3 python3-venv")
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError("Python's venv module is incomplete; install it with: apt-get install python3-venv")
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise SetupError("Node.js with npm is needed (for ClickHouse); install it with: apt-get install nodejs npm")
    if not local_kafka:
        return
    if shutil.which("java") is None or java_version() < JAVA_MIN:
        raise SetupError(
            "Java 17 or newer is needed (for Kafka); install it with: apt-get install openjdk-17-jre-headless"
        )
    if shutil.which("mvn") is None:
        raise SetupError("Maven is needed (for Kafka's jars); install it with: apt-get install maven")


def java_version() -> int:
    """Return the major version of the java on PATH; 0 when it does not say."""
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', answer)
    return int(found[1]) if found else 0


def python_step(lock: str) -> Step:
    """Return the step that makes the virtual environment with exactly the locked packages, checked by hash."""
    requirements = ROOT / "locks" / lock
    name, proof = {"run.txt": ("python packages", "ugc-up"), "dev.txt": ("python test packages", "pytest")}[lock]

    def install(log: Path) -> None:
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "-q"]
        if not is_usable(VENV):
            run([sys.executable, "-m", "venv", "--clear", str(VENV)], log)
        run([*pip, "--require-hashes", "-r", str(requirements)], log)
        run([*pip, "--no-build-isolation", "-e", str(ROOT)], log)

    return Step(name, (requirements, ROOT / "pyproject.toml"), (VENV / "bin" / proof,), install)


def is_usable(environment: Path) -> bool:
    """Whether a virtual environment is whole, stands where it was made, and is of the Python that runs this."""
    python, pip = environment / "bin" / "python", environment / "bin" / "pip"
    if not python.exists() or not pip.exists() or str(environment) not in pip.read_text(encoding="utf-8"):
        return False
    question = [str(python), "-c", "import pip, sys; print(sys.version)"]
    return subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip() == sys.version


def kafka_step() -> Step:
    """Return the step that fetches Kafka's jars with Maven."""
    pom, libs = ROOT / "local" / "kafka" / "pom.xml", LOCAL / "kafka" / "libs"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    return Step("kafka", (pom,), (libs,), lambda log: run([*command, f"-DoutputDirectory={libs}"], log))


def clickhouse_step() -> Step:
    """Return the step that fetches ClickHouse with npm."""
    folder = ROOT / "local" / "clickhouse"
    inputs = folder / "package.json", folder / "package-lock.json"
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    return Step("clickhouse", inputs, (folder / "node_modules",), lambda log: run(command, log))


def page_step() -> Step:
    """Return the step that fetches the OpenAPI page's script; only one file of the package is needed."""
    manifest, target = STATIC / "bundle.json", STATIC / "scalar.js"

    def install(log: Path) -> None:
        bundle = json.loads(manifest.read_text(encoding="utf-8"))
        folder = LOCAL / "page"
        folder.mkdir(parents=True, exist_ok=True)
        package = f"{bundle['name']}@{bundle['version']}"
        run(["npm", "pack", package, "--silent", "--pack-destination", str(folder)], log)
        archive = max(folder.glob("*.tgz"), key=lambda path: path.stat().st_mtime).read_bytes()
        digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
        if digest != bundle["integrity"]:
            raise SetupError(
                f"{package} has integrity {digest}, but gateway/openapi/static/bundle.json wants {bundle['integrity']}"
            )
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.extractfile(bundle["member"])
            assert member is not None  # noqa: S101 -- the integrity above fixes the archive's content
            target.write_bytes(member.read())

    return Step("openapi page", (manifest,), (target,), install)


def is_due(step: Step) -> bool:
    """Whether a step has not succeeded with the inputs as they are now, or its result is gone."""
    return not all(path.exists() for path in step.outputs) or not stamp(step).exists()


def stamp(step: Step) -> Path:
    """Return the file whose presence says that the step succeeded with these inputs."""
    # A folder that was moved has scripts that point to where it was.
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in step.inputs:
        digest.update(path.read_bytes())
    return LOCAL / "stamps" / f"{step.name.replace(' ', '-')}-{digest.hexdigest()[:16]}"


def run_steps(steps: list[Step]) -> None:
    """Run steps side by side, saying which begin, go on and end."""
    if not steps:
        return
    going: dict[str, float] = {}
    ended = threading.Event()
    heart = threading.Thread(target=beat, args=(going, ended))
    heart.start()
    try:
        with ThreadPoolExecutor(len(steps)) as pool:
            for result in [pool.submit(run_step, step, going) for step in steps]:
                result.result(STEP_SECONDS_MAX)
    finally:
        ended.set()
        heart.join()


def run_step(step: Step, going: dict[str, float]) -> None:
    """Run one step and leave its stamp."""
    log = LOCAL / "logs" / f"setup-{step.name.replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    say(f"{step.name}: installing")
    since = going[step.name] = time.monotonic()
    try:
        step.install(log)
    finally:
        del going[step.name]
    seconds = time.monotonic() - since
    marker = stamp(step)
    marker.parent.mkdir(parents=True, exist_ok=True)
    for old in marker.parent.glob(f"{step.name.replace(' ', '-')}-*"):
        old.unlink()
    marker.touch()
    say(f"{step.name}: done in {seconds:.0f} s")


def beat(going: dict[str, float], ended: threading.Event) -> None:
    """Say now and then what is still going on."""
    while not ended.wait(HEARTBEAT_SECONDS):
        now = time.monotonic()
        say("still installing " + ", ".join(f"{name} ({now - since:.0f} s)" for name, since in list(going.items())))


def run(command: list[str], log: Path) -> None:
    """Run a command with its output in the log; SetupError with the end of the log when it fails."""
    with log.open("ab") as output:
        status = subprocess.run(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
            env={**os.environ, **LOCALE},
        ).returncode
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise SetupError(f"`{' '.join(command[:4])} ...` ended with status {status}; the end of its output:\n{tail}")


def say(text: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(f"set-up: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
