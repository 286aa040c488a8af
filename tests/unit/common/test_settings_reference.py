"""The reference of settings: what it reads from a settings class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr

from common.settings import Address, AddressSetting, Documented, KafkaServers, LogSettings, Settings
from common.settings_reference import SettingReference, settings_of


class Base(Settings):
    """A base."""

    shared_rows_max: int = Field(default=5, gt=0, le=2_000)
    """Rows that
    are shared."""
    own: str = "base"


class Example(Base, LogSettings):
    """One of each kind."""

    own: str = Field(default="", min_length=1, max_length=9)
    """Declared again."""
    wait_seconds: float = Field(default=30.0, ge=0.5, lt=60)
    """How long to wait."""
    listen: AddressSetting = Address("::1", 80)
    servers: KafkaServers | None = None
    secret: SecretStr | None = None
    folder: Annotated[Path, Documented(default="here")] = Path("/somewhere/else")
    flag: bool = False
    items: Annotated[tuple[int, ...], Documented("integers")] = (1, 2)
    level: Literal["low", "high"] = "low"


def test_settings() -> None:
    """A class's own settings come first, then its bases'; each with type, unit, limits, default and description."""
    found = [(each.variable, each.summary, each.description) for each in settings_of(Example)]

    assert found == [
        ("UGC_OWN", "text, 1 to 9 characters; not set by default", "Declared again."),
        ("UGC_WAIT_SECONDS", "number, seconds, from 0.5 below 60; default: 30", "How long to wait."),
        ("UGC_LISTEN", "host:port; default: [::1]:80", ""),
        ("UGC_SERVERS", "host:port,host:port; not set by default", ""),
        ("UGC_SECRET", "secret text; not set by default", ""),
        ("UGC_FOLDER", "path; default: here", ""),
        ("UGC_FLAG", "boolean; default: false", ""),
        ("UGC_ITEMS", "integers; default: 1,2", ""),
        ("UGC_LEVEL", "text, one of low, high; default: low", ""),
        ("UGC_SHARED_ROWS_MAX", "integer, rows, above 0 to 2,000; default: 5", "Rows that are shared."),
        ("UGC_LOG_LEVEL", "text, one of debug, info, warning, error; default: info", LOG_LEVEL.description),
        ("UGC_LOG_FORMAT", FORMS, LOG_FORMAT.description),
    ]


LOG_LEVEL, LOG_FORMAT = settings_of(LogSettings)
FORMS = "text, one of console, json; default: console on a terminal, otherwise json"


def test_parts() -> None:
    """The parts are apart, for a table."""
    (reference,) = (each for each in settings_of(Base) if each.unit)

    assert reference == SettingReference(
        "UGC_SHARED_ROWS_MAX", "integer", "rows", "5", "above 0 to 2,000", "Rows that are shared."
    )


def test_unknown_types_are_an_error() -> None:
    """A type that the reference has no word for is found at the first `--help`, not left out."""

    class Unnamed(Settings):
        items: tuple[int, ...] = ()

    with pytest.raises(TypeError, match=r"tuple\[int, \.\.\.\] needs a Documented"):
        list(settings_of(Unnamed))
