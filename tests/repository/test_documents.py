"""What the documents state about the repository: links lead somewhere, variables exist, defaults are the code's."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

from common.settings import PREFIX, Settings
from common.settings_reference import settings_of
from db.settings import AuditSettings, MigrateSettings, ReplaySettings
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from local.settings import ROOT, LocalSettings, UpSettings
from services.ingest.settings import IngestSettings
from tests.support.documents.files import documents, relative

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLE = re.compile(rf"\b{PREFIX}[A-Z_]+[A-Z]\b")
# A row of a table: variables, and their defaults where the cell has nothing else.
ROW = re.compile(rf"^\| ((?:`{PREFIX}\w+`(?:, )?)+) \| ((?:`[^`|]*`(?:, )?)+) \|", re.MULTILINE)
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
DEFAULTS = {each.variable: each.default for process in PROCESSES for each in settings_of(process)}
TEXTS = {page: page.read_text(encoding="utf-8") for page in documents()}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", TEXTS[page]))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether a link is to another site, or to a file and a heading that exist."""
    if "://" in link or link.startswith("mailto:"):
        return True
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or target not in TEXTS or anchor in anchors(target))


def test_links() -> None:
    """Each link to a file of the repository leads to that file, and to a heading that it has."""
    assert [
        f"{relative(page)}: {link}"
        for page, text in TEXTS.items()
        for link in LINK.findall(text)
        if not leads_somewhere(page, link)
    ] == []


def test_variables() -> None:
    """Each variable that a document names is a setting."""
    assert [
        f"{relative(page)}: {name}"
        for page, text in TEXTS.items()
        for name in VARIABLE.findall(text)
        if name not in DEFAULTS
    ] == []


def test_defaults() -> None:
    """The defaults in the tables of documents are the code's; words in place of a value are not compared."""
    compared = [
        (relative(page), variable, value)
        for page, text in TEXTS.items()
        for left, right in ROW.findall(text)
        for variable, value in zip_longest(re.findall(r"`([^`]+)`", left), re.findall(r"`([^`]*)`", right))
    ]

    assert compared
    assert [each for each in compared if DEFAULTS.get(each[1]) != each[2]] == []


def test_decisions_are_listed() -> None:
    """Each decision has its line on the page of the architecture."""
    listed = (ROOT / "architecture" / "README.md").read_text(encoding="utf-8")
    decisions = (ROOT / "architecture" / "decisions").glob("*.md")

    assert [path.name for path in decisions if f"decisions/{path.name}" not in listed] == []
