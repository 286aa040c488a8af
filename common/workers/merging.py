"""Merges the metrics of several workers: each sample gets a label with its worker, and keeps its exemplar. Pure.

The texts are merged by lines. Parsing them would take ten times as long, and would lose what the parser does not know.
"""

from __future__ import annotations

from collections.abc import Mapping

# The ends of a text in OpenMetrics.
END = "# EOF"
KEYWORDS = ("# HELP ", "# TYPE ", "# UNIT ")


def merged(texts: Mapping[str, str]) -> str:
    """Return one text of the metrics of workers, given by the values of the label `worker`, in the same format."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    has_end = False
    for worker, text in texts.items():
        name = ""
        for line in text.split("\n"):
            if line.startswith(KEYWORDS):
                name = line.split(" ", 3)[2]
                head = heads.setdefault(name, [])
                samples.setdefault(name, [])
                if line not in head:
                    head.append(line)
            elif line == END:
                has_end = True
            elif line:
                samples[name].append(labelled(line, worker))
    lines = [line for name, head in heads.items() for line in (*head, *samples[name])]
    return "\n".join([*lines, *([END] if has_end else []), ""])


def labelled(sample: str, worker: str) -> str:
    """Return the line of a sample with a worker's label."""
    label = f'worker="{worker}"'
    name, brace, rest = sample.partition("{")
    # Without labels, a brace can only be that of an exemplar, which comes after a space.
    if brace and " " not in name:
        return f"{name}{{{label},{rest}"
    name, _, rest = sample.partition(" ")
    return f"{name}{{{label}}} {rest}"
