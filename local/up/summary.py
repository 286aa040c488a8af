"""What `ugc-up` prints when everything is up: an example row, and commands that any shell of the user can run."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.settings import Address
from local.live.status import PAGE_PATH
from local.settings import UpSettings, reachable
from local.up.example import DOCUMENTED_EVENT, lacks_token

CALL = "ugc.v1.IngestService/Produce"
# Where the commands of this environment are; it is not on the user's PATH.
COMMANDS = Path(sys.executable).parent
GAP = "  "


def table(row: Mapping[str, str]) -> str:
    """Lay a row out as a line of column names and a line of values."""
    widths = [max(len(name), len(value)) for name, value in row.items()]
    return "\n".join(
        GAP + GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (row.keys(), row.values())
    )


def aligned(lines: Sequence[tuple[str, str]]) -> str:
    """Lay out lines that have a label each."""
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{GAP}{label:<{width}}{GAP}{text}" for label, text in lines)


def addresses(settings: UpSettings, gateway: Address, ingest: Address, token: str | None) -> list[tuple[str, str]]:
    """Return the commands and pages of the running system, each with a label.

    The commands name every file by its absolute path. The event and the token that they send are in files.
    """
    directory = settings.local_directory
    event, header = written(directory / "event.json", DOCUMENTED_EVENT), header_option(settings, token)
    lines = [
        ("send over HTTP", http_command(gateway, event, header)),
        ("send over gRPC", grpc_command(ingest, event, header)),
        ("API page", f"http://{gateway}/api/openapi"),
    ]
    if settings.local_status_listen is not None:
        lines.append(("live status", f"http://{reachable(settings.local_status_listen)}{PAGE_PATH}"))
    if settings.starts_clickhouse:
        page = f"http://{settings.local_clickhouse_http}/play"
        lines.append(("query page", f"{page}   (database ugc, user default, no password)"))
    listens = (settings.ingest_management_listen, settings.gateway_management_listen, settings.etl_management_listen)
    if pages := [f"http://{reachable(each)}/metrics" for each in listens if each is not None]:
        lines.append(("metrics", " ".join(pages)))
    lines.append(("audit", shlex.quote(str(COMMANDS / "ugc-audit"))))
    lines.append(("logs", str(directory / "logs")))
    return lines


def http_command(gateway: Address, event: str, header: str) -> str:
    """Return a command that posts an event with curl; without curl, what to send where."""
    url = f"http://{gateway}/api/v1/produce"
    if shutil.which("curl") is None:
        return f"POST {event} to {url}   (curl is not installed)"
    return f"curl {header}-d @{event} {url}"


def grpc_command(ingest: Address, event: str, header: str) -> str:
    """Return a command that sends an event with grpcurl, or else with buf; without both, where ingest listens."""
    if shutil.which("grpcurl"):
        return f"grpcurl -plaintext {header}-d @ {ingest} {CALL} < {event}"
    buf = shutil.which("buf") and "buf"
    if buf is None and (COMMANDS / "buf").exists():
        buf = shlex.quote(str(COMMANDS / "buf"))
    if buf is None:
        return f"{ingest}   (with grpcurl, or with buf, which `make test` installs)"
    return f"{buf} curl --protocol grpc --http2-prior-knowledge {header}-d @{event} http://{ingest}/{CALL}"


def header_option(settings: UpSettings, token: str | None) -> str:
    """Return the option that makes a command send a token, and a space; empty when ingest requires none."""
    if token is not None:
        file = written(settings.local_directory / "authorization", f"authorization: {token}")
        return f'-H "$(cat {file})" '
    return '-H "authorization: Bearer $TOKEN" ' if lacks_token(settings) else ""


def written(path: Path, text: str) -> str:
    """Write a file that only its owner can read; return its path as a shell reads it."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return shlex.quote(str(path))
