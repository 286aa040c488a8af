"""What the documents say of the code: links lead somewhere, variables exist, and defaults are what they say."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from common.settings import PREFIX, Settings
from db.settings import AuditSettings, MigrateSettings, ReplaySettings
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from local.settings import ROOT, LocalSettings, UpSettings
from services.ingest.settings import IngestSettings

DOCUMENTS = sorted([
    *ROOT.glob("*.md"),
    *(ROOT / "architecture").rglob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "gateway" / "README.md",
    ROOT / "tests" / "benchmarks" / "README.md",
])  # fmt: skip
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+[A-Z]\b")
# A row of the README's table: its variables, their defaults, and who reads them.
ROW = re.compile(rf"^\| (`{PREFIX}[^|]+) \| ([^|]+) \|", re.MULTILINE)
PROCESSES: tuple[type[Settings], ...] = (
    IngestSettings,
    GatewaySettings,
    EtlSettings,
    MigrateSettings,
    AuditSettings,
    ReplaySettings,
    LocalSettings,
    UpSettings,
)


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def defaults() -> dict[str, set[str]]:
    """Return every variable with its defaults as a document writes them; processes may differ in theirs."""
    found: dict[str, set[str]] = {}
    for process in PROCESSES:
        for name, field in process.model_fields.items():
            default: Any = field.get_default(call_default_factory=True, validated_data={})
            if isinstance(default, Path):
                default = default.relative_to(ROOT) if default.is_relative_to(ROOT) else default
            written = str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")
            found.setdefault(PREFIX + name.upper(), set()).add(written)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_links(document: Path) -> None:
    """Every link to a file of the repository leads to one."""
    targets = [link.partition("#")[0] for link in LINK.findall(document.read_text(encoding="utf-8"))]
    local = [target for target in targets if target and "://" not in target]

    assert [target for target in local if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_variables(document: Path) -> None:
    """Every variable that a document names is a setting of some process."""
    assert set(VARIABLE.findall(document.read_text(encoding="utf-8"))) <= set(defaults())


def test_defaults() -> None:
    """The defaults in the README's table are those of the code; words in place of a value are not compared."""
    known, compared = defaults(), 0
    for left, right in ROW.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        values = re.findall(r"`([^`]*)`", right)
        for variable, value in zip_longest(re.findall(r"`([^`]+)`", left), values) if values else ():
            assert value in known[variable], variable
            compared += 1

    assert compared


def test_decisions_are_listed() -> None:
    """Every decision has its line on the architecture's page."""
    page = (ROOT / "architecture" / "README.md").read_text(encoding="utf-8")

    assert [
        path.name for path in (ROOT / "architecture" / "decisions").glob("*.md") if f"decisions/{path.name}" not in page
    ] == []
