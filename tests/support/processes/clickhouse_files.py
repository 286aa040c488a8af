"""Adds configuration to a local ClickHouse server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from local.clickhouse.server import CONFIGURATION, USERS
from local.processes.program import Program

ENDS = {CONFIGURATION: "</clickhouse>", USERS: "</users>"}


def with_pieces(program: Program, pieces: Mapping[str, str]) -> Program:
    """Return the server with a piece of XML at the end of each of its files, CONFIGURATION or USERS."""

    def prepare() -> None:
        program.prepare()
        assert program.directory is not None
        for name, piece in pieces.items():
            path, end = program.directory / name, ENDS[name]
            text = path.read_text(encoding="utf-8")
            assert text.count(end) == 1
            path.write_text(text.replace(end, piece + end), encoding="utf-8")

    return replace(program, prepare=prepare)
