"""Queries over HTTP, each over a connection of its own that is given up in time: a server may be dead or frozen."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable

from local.processes.direct import DIRECT
from tests.support.cluster.layout import Member

DATABASE = "ugc"
SECONDS_MAX = 20.0
ERROR_CHARACTERS_MAX = 300


class QueryError(Exception):
    """A server does not answer, or refuses a query; the text has its error."""


def rows(member: Member, query: str, seconds_max: float = SECONDS_MAX, **settings: object) -> list[list[str]]:
    """Return the rows of a query on one replica, as texts."""
    parameters = urllib.parse.urlencode({"database": DATABASE, "default_format": "TabSeparated", **settings})
    request = urllib.request.Request(f"http://{member.address('http')}/?{parameters}", data=query.encode())
    try:
        with DIRECT.open(request, timeout=seconds_max) as answer:
            return [line.split("\t") for line in answer.read().decode().splitlines()]
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode(errors="replace")
        raise QueryError(f"{member.name}: {text[:ERROR_CHARACTERS_MAX]}") from error
    except (OSError, http.client.HTTPException) as error:
        raise QueryError(f"{member.name} does not answer: {error}") from error


def scalar(member: Member, query: str, seconds_max: float = SECONDS_MAX, **settings: object) -> str:
    """Return the only value of a query."""
    ((value,),) = rows(member, query, seconds_max, **settings)
    return value


def any_rows(members: Iterable[Member], query: str, **settings: object) -> list[list[str]]:
    """Return the rows of a query on the first replica that answers; QueryError if none does."""
    failures = []
    for member in members:
        try:
            return rows(member, query, SECONDS_MAX, **settings)
        except QueryError as error:
            failures.append(str(error))
    raise QueryError("; ".join(failures))
