"""The runbook has an entry for each alert, and for each text with which production code asks a person to act."""

from __future__ import annotations

import re

from db.conservation import BreachKind
from etl.clickhouse.codes import QUORUM_ERRORS, SIZE_ERRORS, STATE_ERRORS
from local.settings import ROOT
from tests.support.documents.texts import operator_texts, string_constants
from tests.support.observing.files import DASHBOARDS, alerts, panels

RUNBOOK = ROOT / "docs" / "operating" / "runbook.md"
ENTRY = re.compile(
    r"^### (?P<title>.*)\n\n(?:(?P<message>\*\*Message:\*\* .*(?:\n.+)*)|(?P<alert>\*\*Alert:\*\* .*))\n\n"
    r"(?P<body>(?:(?!^##).*\n)*)",
    re.MULTILINE,
)
NO_ACTION = re.compile(r"^\| (?P<message>`.*`) \| (?P<reason>.+) \|$", re.MULTILINE)
QUOTED = re.compile(r"`` (.+?) ``|`([^`]+)`")
# The title of a panel in the entry of an alert.
EMPHASIZED = re.compile(r"(?<!\*)\*([^*\n]+)\*(?!\*)")
PARTS = ("**Meaning.**", "**Impact.**", "**Action.**", "**Resolved when.**")
# Written by Python's faulthandler, which common/watchdog.py has end the process; and errors of the operating system and
# of Kafka's client.
NOT_IN_CODE = {
    "Timeout (",
    "Connection refused",
    "Connection reset",
    "timed out",
    "_TIMED_OUT",
    "The group id does not exist",
}


def quoted(text: str) -> list[str]:
    return [one or other for one, other in QUOTED.findall(text)]


def no_action() -> str:
    """Return the section that lists the texts that need no action."""
    return RUNBOOK.read_text(encoding="utf-8").partition("\n## Messages that need no action\n")[2]


def described() -> set[str]:
    """Return the texts of all entries, and those of the list of messages that need no action."""
    page = RUNBOOK.read_text(encoding="utf-8")
    entries = [text for match in ENTRY.finditer(page) if match["message"] for text in quoted(match["message"])]
    return {*entries, *(text for match in NO_ACTION.finditer(no_action()) for text in quoted(match["message"]))}


def test_every_message_is_described() -> None:
    """Each warning, error, and text with which a process ends contains the text of an entry."""
    known = described()

    missing = [f"{each.place}: {each.text}" for each in operator_texts() if not any(key in each.text for key in known)]
    assert missing == []


def test_every_breach_is_described() -> None:
    """Each kind of breach that `ugc-audit` reports has an entry."""
    assert [kind for kind in BreachKind if not any(kind.value in text for text in described())] == []


def test_every_alert_is_described() -> None:
    """Each alert has one entry, and each entry of an alert is of one that exists."""
    page = RUNBOOK.read_text(encoding="utf-8")
    named = [name for match in ENTRY.finditer(page) if match["alert"] for name in quoted(match["alert"])]

    assert sorted(named) == sorted(alerts())


def test_every_panel_exists() -> None:
    """Each panel that the entry of an alert names is on a dashboard."""
    page = RUNBOOK.read_text(encoding="utf-8")
    titles = {panel["title"] for path in DASHBOARDS.iterdir() for panel in panels(path)}
    named = {title for match in ENTRY.finditer(page) if match["alert"] for title in EMPHASIZED.findall(match["body"])}

    assert named
    assert named - titles == set()


def test_every_entry_is_in_the_code() -> None:
    """Each text of the runbook is a text of production code."""
    code = string_constants() + "\n".join(each.text for each in operator_texts())

    assert [key for key in sorted(described() - NOT_IN_CODE) if key not in code] == []


def test_every_cause_is_in_the_code() -> None:
    """Each cause that the entry of a failed batch lists is a text of the etl, or a code that it distinguishes."""
    page = RUNBOOK.read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| `error` contains \|.*\n\|.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    causes = {cause for row in table.splitlines() for cause in quoted(row.split(" | ")[0])}
    codes = {int(cause.removeprefix("Code: ")) for cause in causes if cause.startswith("Code: ")}
    texts = {cause for cause in causes if not cause.startswith("Code: ")} - NOT_IN_CODE

    assert codes <= STATE_ERRORS.keys() | SIZE_ERRORS.keys() | QUORUM_ERRORS.keys()
    code = string_constants()
    assert [text for text in sorted(texts) if text not in code] == []


def test_every_entry_is_complete() -> None:
    """Each entry names its message or its alerts, and has the four parts: meaning, impact, action, and the end."""
    page = RUNBOOK.read_text(encoding="utf-8")
    entries = list(ENTRY.finditer(page))

    assert page.count("\n### ") == len(entries)
    assert [match["title"] for match in entries if any(part not in match["body"] for part in PARTS)] == []
