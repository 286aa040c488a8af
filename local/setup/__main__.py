"""Sets a fresh machine up: `python3 -m local.setup run|test|bench|cluster|kubernetes`; a second run takes no time."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys

from local.setup.kubernetes import api_server_step, helm_step, strimzi_step
from local.setup.packages import clickhouse_step, kafka_step, page_step, zookeeper_step
from local.setup.python_packages import benchmark_step, python_step
from local.setup.steps import SetupError, Step, alone, is_due, run_steps

PYTHON_MIN = (3, 11)
JAVA_MIN = 17
# The status that shells give a process that SIGINT ended.
INTERRUPTED = 130


def main() -> int:
    """Check the prerequisites, then run the steps that are due; status 1 with a message on failure."""
    benchmarks = sys.argv[1:] == ["bench"]
    cluster, kubernetes = sys.argv[1:] == ["cluster"], sys.argv[1:] == ["kubernetes"]
    tests = benchmarks or cluster or kubernetes or sys.argv[1:] == ["test"]
    local_kafka = is_local("UGC_KAFKA_BOOTSTRAP_SERVERS", tests=tests)
    local_clickhouse = is_local("UGC_CLICKHOUSE_URL", tests=tests)
    try:
        check_prerequisites(local_kafka=local_kafka)
        with alone():
            steps = [python_packages(tests=tests), page_step()]
            steps += [kafka_step()] if local_kafka else []
            steps += [clickhouse_step()] if local_clickhouse else []
            steps += [benchmark_step()] if benchmarks else []
            steps += [zookeeper_step()] if cluster else []
            steps += [step for step in [helm_step()] if step and tests]
            steps += [api_server_step(), strimzi_step()] if kubernetes else []
            run_steps([step for step in steps if is_due(step)])
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("set-up: interrupted; the next run continues from here\n")
        return INTERRUPTED
    return 0


def is_local(variable: str, *, tests: bool) -> bool:
    """Whether a server runs on this machine: the user has set no other, or tests are to run, which start their own."""
    return tests or not os.environ.get(variable)


def python_packages(*, tests: bool) -> Step:
    """Return the step for the Python packages: an environment with those of the tests has all that `make up` needs."""
    with_tests = python_step("dev.txt")
    return with_tests if tests or not is_due(with_tests) else python_step("run.txt")


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
    """Return the major version of the java on PATH; 0 when its answer has none."""
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', answer)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
