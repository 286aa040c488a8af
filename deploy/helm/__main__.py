"""Writes what is generated of the chart: `python -m deploy.helm`; `--check` compares, with status 1 when it is stale.

That is the schema of the values, what the templates need of the processes, and the golden files, which need Helm.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deploy.helm.permissions import PERMISSIONS
from deploy.helm.processes import facts
from deploy.helm.rendering import CHART, GOLDENS, ROOT, goldens, helm
from deploy.helm.schema import values_schema


def chart_files() -> dict[Path, str]:
    """Return the generated files of the chart."""
    return {
        CHART / "values.schema.json": values_schema(),
        CHART / "files" / "processes.json": json.dumps(facts(), indent=1, ensure_ascii=False) + "\n",
        CHART / "files" / "permissions.json": json.dumps(PERMISSIONS, indent=1) + "\n",
    }


def golden_files() -> dict[Path, str]:
    """Return the golden files; none without Helm."""
    if helm() is None:
        sys.stderr.write("Helm is not installed: the golden files are left as they are\n")
        return {}
    return {GOLDENS / name: text for name, text in goldens().items()}


def main() -> int:
    """Write the files, or compare them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare only; exit with status 1 on a difference")
    check = options.parse_args().check
    # Helm renders with the schema: it is written first.
    stale = [path for files in (chart_files, golden_files) for path in handled(files(), check=check)]
    if check:
        sys.stderr.writelines(f"{path.relative_to(ROOT)} is stale: run `make chart`\n" for path in stale)
    return 1 if check and stale else 0


def handled(files: dict[Path, str], *, check: bool) -> list[Path]:
    """Return the files that differ from what they should have; write them unless they are only checked."""
    stale = []
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
