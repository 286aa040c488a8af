"""Reads the shell commands of a page, with what the page shows of their output."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

# A fence with its marker, an HTML comment on the line before it.
FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<marker>[^\n]*?) -->\n(?P=indent))?"
    r"```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
NOT_RUN = "not run here: "
# A step of a procedure, which the test of that procedure runs.
SCENARIO = "scenario: "
UNTIL_INTERRUPTED = "runs until Ctrl-C"
EXAMPLE = "example output"


@dataclass(frozen=True)
class Output:
    """What a page shows of a command's output; of an example only the shape counts."""

    text: str
    is_example: bool


@dataclass(frozen=True)
class Command:
    """One block of shell commands."""

    line: int
    text: str
    # Why it cannot run here; empty when it can.
    not_run: str
    # The procedure that it is a step of; empty when it stands alone.
    scenario: str
    in_background: bool
    output: Output | None


@dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, its language, its marker and its text."""

    start: int
    end: int
    language: str
    marker: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [
        Block(found.start(), found.end(), found["language"], found["marker"] or "", textwrap.dedent(found["text"]))
        for found in FENCE.finditer(page)
    ]


def commands(path: Path) -> list[Command]:
    """Return the shell blocks of a page, each with the `text` block that follows it directly."""
    page = path.read_text(encoding="utf-8")
    found = blocks(page)
    result = []
    for block, following in zip(found, [*found, None][1:], strict=True):
        if block.language == "sh":
            shown = following if following and not page[block.end : following.start].strip() else None
            is_output = shown is not None and shown.language == "text"
            result.append(
                Command(
                    line=page.count("\n", 0, block.start) + 1,
                    text=block.text,
                    not_run=block.marker.removeprefix(NOT_RUN) if block.marker.startswith(NOT_RUN) else "",
                    scenario=block.marker.removeprefix(SCENARIO) if block.marker.startswith(SCENARIO) else "",
                    in_background=block.marker == UNTIL_INTERRUPTED,
                    output=Output(shown.text, shown.marker == EXAMPLE) if shown and is_output else None,
                )
            )
    return result


def differs(output: Output, printed: str) -> str:
    """Return what of a shown output was not printed; empty when all of it was.

    A line `...` stands for any lines, `...` at the end of a line for the rest of it. Of an example, identifiers and
    numbers are not compared.
    """
    wanted, found = (masked(text) if output.is_example else text for text in (output.text, printed))
    pattern = "".join(
        r"(?:.*\n)*?"
        if line == "..."
        else re.escape(line.removesuffix("...")) + (".*" if line.endswith("...") else "") + r"\n"
        for line in (each.rstrip() for each in wanted.splitlines())
    )
    lines = "".join(f"{each.rstrip()}\n" for each in found.splitlines())
    return "" if re.fullmatch(pattern, lines) else f"the page shows\n{output.text}\nbut the command printed\n{printed}"


def masked(text: str) -> str:
    """Put one letter in the place of each identifier and each number."""
    text = re.sub(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "U", text)
    return re.sub(r"\d+", "N", text)
