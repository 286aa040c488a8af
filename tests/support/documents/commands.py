"""Finds the shell commands of a page: the blocks that begin with ```sh.

A comment before a block says what becomes of it in the tests:
`<!-- not run here: REASON -->` for what needs a program that this machine cannot have, such as Docker or systemd;
`<!-- scenario: NAME -->` for a step of a procedure, which the test of that procedure runs in its place.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from local.settings import ROOT

BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<marker>[^\n]*?) -->\n(?P=indent))?```sh\n(?P<text>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
NOT_RUN, SCENARIO = "not run here: ", "scenario: "


@dataclass(frozen=True)
class Block:
    """A block of shell commands; `not_run` is the reason why no test runs it, `scenario` the test that does."""

    page: str
    line: int
    text: str
    not_run: str = ""
    scenario: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of shell commands of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [block(page, text, match) for match in BLOCK.finditer(text)]


def block(page: Path, text: str, match: re.Match[str]) -> Block:
    """Read one block; ValueError for a comment that is neither of the two."""
    name, line = page.relative_to(ROOT).as_posix(), text.count("\n", 0, match.start("text"))
    marker, commands = match["marker"] or "", textwrap.dedent(match["text"])
    if marker.startswith(NOT_RUN):
        return Block(name, line, commands, not_run=marker.removeprefix(NOT_RUN))
    if marker.startswith(SCENARIO):
        return Block(name, line, commands, scenario=marker.removeprefix(SCENARIO))
    if marker:
        raise ValueError(f"{name}:{line}: {marker!r} begins neither with {NOT_RUN!r} nor with {SCENARIO!r}")
    return Block(name, line, commands)
