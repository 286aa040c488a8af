"""The reference page of the settings, from the classes that read them."""

from __future__ import annotations

from common.settings import Settings
from common.settings_reference import SettingReference, settings_of
from db.settings import AddPartitionsSettings, AuditSettings, MigrateSettings, ReplaySettings, RewindSettings
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from local.settings import LocalSettings, UpSettings
from services.ingest.settings import IngestSettings

INTRODUCTION = """\
# Settings

This page lists every setting: an environment variable that a process reads once, when it starts. A process refuses to
start with a value that is not valid, with exit status 2 and the name of the variable. A variable that is empty counts
as not set, except where that would switch off a protection. `COMMAND --help` prints the settings of one command.
"""
PROCESSES: dict[str, type[Settings]] = {
    "ugc-ingest": IngestSettings,
    "ugc-gateway": GatewaySettings,
    "ugc-etl": EtlSettings,
    "ugc-migrate": MigrateSettings,
    "ugc-audit": AuditSettings,
    "ugc-replay": ReplaySettings,
    "ugc-rewind": RewindSettings,
    "ugc-add-partitions": AddPartitionsSettings,
    "ugc-servers": LocalSettings,
    "ugc-up": UpSettings,
}
SHARED = "Shared by several commands"


def page() -> str:
    """Return the page: the settings that several commands read, then those of each command alone."""
    readers: dict[str, list[str]] = {}
    references: dict[str, SettingReference] = {}
    for command, kind in PROCESSES.items():
        for each in settings_of(kind):
            readers.setdefault(each.variable, []).append(command)
            references.setdefault(each.variable, each)
    sections: dict[str, list[SettingReference]] = {SHARED: [], **{command: [] for command in PROCESSES}}
    for variable, each in references.items():
        # `ugc-up` reads what the processes that it starts read.
        owners = [command for command in readers[variable] if command != "ugc-up"] or ["ugc-up"]
        sections[owners[0] if len(owners) == 1 else SHARED].append(each)
    parts = [section(name, found, readers) for name, found in sections.items() if found]
    return "\n".join([INTRODUCTION, *parts])


def section(name: str, found: list[SettingReference], readers: dict[str, list[str]]) -> str:
    """Return a heading and the table of its settings."""
    shared = name == SHARED
    header = "| variable | default | type and limits | meaning |" + (" read by |" if shared else "")
    rows = [header, "|---|---|---|---|" + ("---|" if shared else "")]
    for each in sorted(found, key=lambda reference: reference.variable):
        limits = ", ".join(word for word in (each.type, each.unit, each.limits) if word)
        # Words that describe a default are not a value to copy.
        default = each.default if " " in each.default else f"`{each.default}`" if each.default else "not set"
        row = f"| `{each.variable}` | {cell(default)} | {cell(limits)} | {cell(each.description)} |"
        rows.append(row + (f" {', '.join(readers[each.variable])} |" if shared else ""))
    return f"## {name}\n\n" + "\n".join(rows) + "\n"


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return text.replace("|", r"\|")
