"""The packages that are not Python's: Kafka's jars from Maven, ClickHouse's library and the OpenAPI page from npm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

from local.setup.steps import LOCAL, ROOT, SetupError, Step, run

STATIC = ROOT / "gateway" / "openapi" / "static"


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
    """Return the step that fetches the script of the OpenAPI page, one file of an npm package."""
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
