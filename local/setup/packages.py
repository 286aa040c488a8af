"""Packages that are not of Python: jars of Kafka and ZooKeeper, the library of ClickHouse, and the OpenAPI page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TypedDict

from local.kafka.files import ARCHIVE, LIBRARIES
from local.setup.kafka_archive import make_archive
from local.setup.steps import LOCAL, ROOT, SetupError, Step, run

ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
STATIC = ROOT / "gateway" / "openapi" / "static"
CLUSTER = ROOT / "tests" / "support" / "cluster"
ZOOKEEPER_LIBRARIES = LOCAL / "zookeeper" / "libs"


class Bundle(TypedDict):
    """A file of an npm package: the package with its integrity, and the file's path in the archive."""

    name: str
    version: str
    integrity: str
    member: str


def kafka_step() -> Step:
    """Return the step that fetches Kafka's jars with Maven, and archives their classes."""
    pom = ROOT / "local" / "kafka" / "pom.xml"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]

    def install(log: Path) -> None:
        run([*command, f"-DoutputDirectory={LIBRARIES}"], log)
        make_archive(log)

    return Step("kafka", (pom,), (LIBRARIES, ARCHIVE), install)


def zookeeper_step() -> Step:
    """Return the step that fetches ZooKeeper's jars, which only the cluster of `make test-cluster` needs."""
    pom, hashes = CLUSTER / "pom.xml", CLUSTER / "jars.sha256"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]

    def install(log: Path) -> None:
        shutil.rmtree(ZOOKEEPER_LIBRARIES, ignore_errors=True)
        run([*command, f"-DoutputDirectory={ZOOKEEPER_LIBRARIES}"], log)
        check_hashes(ZOOKEEPER_LIBRARIES, hashes.read_text(encoding="utf-8"))

    return Step("zookeeper", (pom, hashes), (ZOOKEEPER_LIBRARIES,), install)


def check_hashes(folder: Path, wanted: str) -> None:
    """Raise SetupError unless a folder has exactly the files of a list in the format of sha256sum.

    The folder is then deleted, so that the next set-up fetches them again.
    """
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    listed = {name: digest for digest, name in (line.split() for line in wanted.splitlines())}
    if different := sorted(name for name in found.keys() | listed.keys() if found.get(name) != listed.get(name)):
        shutil.rmtree(folder)
        raise SetupError(f"these files are not those whose SHA-256 is recorded: {', '.join(different)}")


def clickhouse_step() -> Step:
    """Return the step that fetches ClickHouse with npm."""
    folder = ROOT / "local" / "clickhouse"
    inputs = folder / "package.json", folder / "package-lock.json"
    # In the folder and without --prefix, with which npm does not read the configuration of the machine. The log has
    # each download, because npm reports none that failed.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    library = folder / "node_modules" / "@chdb" / clickhouse_package() / "libchdb.so"
    return Step("clickhouse", inputs, (library,), lambda log: run(command, log, directory=folder))


def clickhouse_package() -> str:
    """Return the name of the npm package that has ClickHouse for this machine; SetupError if there is none."""
    system, machine = sys.platform, platform.machine().lower()
    if system not in ("linux", "darwin") or machine not in ARCHITECTURES:
        raise SetupError(f"ClickHouse is not available for {system} on {machine}; set UGC_CLICKHOUSE_URL to a server")
    return f"lib-{system}-{ARCHITECTURES[machine]}" + ("-gnu" if system == "linux" else "")


def page_step() -> Step:
    """Return the step that fetches the script of the OpenAPI page, one file of an npm package."""
    manifest, target = STATIC / "bundle.json", STATIC / "scalar.js"

    def install(log: Path) -> None:
        target.write_bytes(bundled(manifest, LOCAL / "page", log))

    return Step("openapi page", (manifest,), (target,), install)


def bundled(manifest: Path, folder: Path, log: Path) -> bytes:
    """Fetch the npm package of a manifest into a folder, check its integrity, and return the file that is named."""
    bundle: Bundle = json.loads(manifest.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    package = f"{bundle['name']}@{bundle['version']}"
    run(["npm", "pack", package, "--loglevel=http", "--pack-destination", str(folder)], log)
    archive = max(folder.glob("*.tgz"), key=lambda path: path.stat().st_mtime).read_bytes()
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != bundle["integrity"]:
        raise SetupError(
            f"{package} has integrity {digest}, but {manifest.relative_to(ROOT)} wants {bundle['integrity']}"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(bundle["member"])
        assert member is not None  # noqa: S101 -- the integrity above fixes the archive's content
        return member.read()
