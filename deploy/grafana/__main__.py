"""Writes the dashboards: `python -m deploy.grafana`; `--check` compares, and exits with status 1 when one is stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.grafana.dashboards import dashboards

FOLDER = Path(__file__).parent / "dashboards"


def main() -> int:
    """Write the dashboards, or compare them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare only; exit with status 1 on a difference")
    check = options.parse_args().check
    stale = []
    for name, text in dashboards().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check:
        sys.stderr.writelines(f"deploy/grafana/dashboards/{name} is stale: run `make dashboards`\n" for name in stale)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
