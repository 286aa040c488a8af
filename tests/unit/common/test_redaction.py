"""No secret is in a log line, whoever wrote the line and in whichever form it has."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from common.clickhouse_settings import ClickHouseSettings
from common.log_lines import VALUE_CHARACTERS_MAX
from common.logs import LibraryHandler, configure_logs, log_limited, logger
from common.outage_log import OutageLog
from common.redaction import HIDDEN, Redactor, secrets_of
from common.settings import LogSettings

PASSWORD = "p@ss/w'rd\"x"  # noqa: S105 -- of a test
URL = "clickhouse://etl:p%40ss%2Fw%27rd%22x@db:9000/ugc?alt_hosts=other:9000"
SECRET = "a-secret-of-thirty-two-characters!"  # noqa: S105 -- of a test
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRva2Vu"  # noqa: S105 -- of a test
OPAQUE = "opaque-credential-0123456789"
HIDDEN_TEXTS = (PASSWORD, "p%40ss", "p@ss", SECRET, TOKEN, "eyJ", OPAQUE)
# Texts with a secret, as a process, a library or an exception writes them.
TEXTS = (
    f"cannot connect to {URL}",
    f"wrong password {PASSWORD}",
    "http://user:another%20word@proxy:3128 refused",
    f"signed with {SECRET}",
    f"authorization: Bearer {TOKEN}",
    f"Authorization: Basic {OPAQUE}",
    f"{{'authorization': '{OPAQUE}', 'accept': '*/*'}}",
    json.dumps({"authorization": OPAQUE}),
    repr([("x-request-id", "1"), ("authorization", f"Bearer {TOKEN}")]),
    f"_Metadatum(key='authorization', value='{OPAQUE}')",
    f"b'GET / HTTP/1.1\\r\\nauthorization: {OPAQUE}\\r\\n'",
    f"token {TOKEN} has expired",
    f"password={OPAQUE}&user=etl",
)


class AuthSettings(LogSettings, ClickHouseSettings):
    """Settings with both kinds of secrets."""

    ingest_auth_secret: SecretStr | None = None


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore what `configure_logs` changes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for module, name in ((sys, "excepthook"), (threading, "excepthook"), (warnings, "showwarning")):
        monkeypatch.setattr(module, name, getattr(module, name))
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(params=["json", "console", "console on a terminal"])
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Log to a stream at every level, in each form."""
    stream = Terminal() if "terminal" in request.param else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    values: dict[str, Any] = {"clickhouse_url": URL, "ingest_auth_secret": SECRET, "log_level": "debug"}
    configure_logs("test", AuthSettings(**values, log_format=request.param.partition(" ")[0]))
    return stream


def fail(text: str) -> None:
    """Raise an exception because of another one, both with the text."""
    try:
        int(text)
    except ValueError as error:
        raise OSError(f"failed: {text}") from error


def raised(text: str) -> Exception:
    """Return the exception of `fail`."""
    with pytest.raises(OSError, match="failed") as caught:
        fail(text)
    return caught.value


def by_levels(text: str) -> None:
    log = logger()
    for write in (log.debug, log.info, log.warning, log.error, log.critical):
        write(text, value=text, nested={"list": [text, text.encode()]})


def by_exceptions(text: str) -> None:
    logger().error("a request failed", exc_info=raised(text))
    log_limited(logging.ERROR, "a request failed", exc_info=raised(text), reason=text)
    OutageLog("reaching Kafka").failed(raised(text))


def by_a_library(text: str) -> None:
    library = logging.getLogger("a.library")
    library.warning("refused %s", text)
    library.error("refused", exc_info=raised(text))
    # A line that the standard library cannot format, and would write with its values; pytest's own handler fails on it.
    (own,) = [each for each in logging.getLogger().handlers if isinstance(each, LibraryHandler)]
    own.handle(logging.LogRecord("a.library", logging.WARNING, "library.py", 1, "%d", (text,), None))
    warnings.showwarning(text, UserWarning, "library.py", 1)


def by_nobody(text: str) -> None:
    error = raised(text)
    sys.excepthook(type(error), error, error.__traceback__)
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))


@pytest.mark.parametrize("write", [by_levels, by_exceptions, by_a_library, by_nobody])
@pytest.mark.parametrize("text", TEXTS)
def test_secrets_are_hidden(stream: io.StringIO, write: Callable[[str], None], text: str) -> None:
    """Lines of the process, of libraries, and of exceptions that nobody catches have no secret in them."""
    write(text)

    written = stream.getvalue()
    assert written
    assert HIDDEN in written
    assert [secret for secret in (*HIDDEN_TEXTS, "another%20word") if secret in written] == []


@pytest.mark.parametrize("write", [by_levels, by_exceptions, by_a_library, by_nobody])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stream", ["json"], indirect=True)
def test_lines_stay_json(stream: io.StringIO, write: Callable[[str], None], text: str) -> None:
    """Every line is one object, whatever is hidden in it."""
    write(text)

    assert {json.loads(line)["process"] for line in stream.getvalue().splitlines()} == {"test"}


@pytest.mark.parametrize(
    "text",
    [
        "a bearer token is required (authorization: Bearer ...)",
        "the authorization must be printable ASCII",
        "ClickHouse at db:9000 (UGC_CLICKHOUSE_URL) does not answer: [Errno 111] Connection refused",
        "Code: 516. DB::Exception: etl: Authentication failed: password is incorrect, or there is no user",
        "insert_deduplication_token='3f2a:0:17'",
        "http://127.0.0.1:8000/openapi.json",
        "x" * VALUE_CHARACTERS_MAX,
    ],
)
def test_other_texts_stay(text: str) -> None:
    """Texts about secrets, and those that resemble one, are not changed."""
    assert Redactor([""]).hide(text) == text


def test_short_secrets() -> None:
    """A password of a few characters is hidden in a URL, and not where a word contains it."""
    url = "clickhouse://etl:in@db:9000/ugc"

    redactor = Redactor(secrets_of(ClickHouseSettings(clickhouse_url=url)))
    assert redactor.hide(f"insert into {url}") == "insert into clickhouse://etl:***@db:9000/ugc"
