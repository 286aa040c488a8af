"""The image is built from files of the repository, and has production code only."""

from __future__ import annotations

import re
import tomllib

from local.settings import ROOT

# What the Dockerfile copies from the repository, and what .dockerignore lets through.
COPIES = re.compile(r"^COPY (?!--from)(.+)", re.MULTILINE)
ALLOWED = re.compile(r"^!(.+)", re.MULTILINE)
PRODUCTION = {"common", "services", "gateway", "etl", "db"}


def test_dockerfile_sources() -> None:
    """Every file that the Dockerfile copies from the repository is there, and .dockerignore lets it through."""
    copies = COPIES.findall((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    allowed = ALLOWED.findall((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    sources = [source for line in copies for source in line.split()[:-1]]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source


def test_image_has_production_code_only() -> None:
    """The image has the packages of the processes, and neither the local system nor the tests, nor their commands."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sources = {source for line in COPIES.findall(dockerfile) for source in line.split()[:-1]}
    allowed = set(ALLOWED.findall((ROOT / ".dockerignore").read_text(encoding="utf-8")))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    removed = set(re.findall(r"/opt/venv/bin/(ugc-[a-z]+)", dockerfile))
    local = {name for name, target in scripts.items() if target.startswith("local.")}

    assert {source for source in sources if (ROOT / source).is_dir()} == {*PRODUCTION, "proto/gen"}
    assert sources <= allowed | {"gateway/openapi/static/bundle.json"}
    assert not {path.split("/")[0] for path in allowed} & {"local", "tests", "docs", "architecture"}
    assert removed == local
