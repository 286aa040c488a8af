"""Settings classes: each setting is declared once and described for the operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module

from common.settings import Settings

for module in ("common.failpoints", "common.watchdog", "db", "etl", "gateway", "local", "services.ingest"):
    import_module(module if module.startswith("common.") else f"{module}.settings")


def classes(parent: type[Settings] = Settings) -> Iterator[type[Settings]]:
    """Return every settings class of the product; tests of settings define others."""
    for kind in parent.__subclasses__():
        if not kind.__module__.startswith("tests."):
            yield kind
            yield from classes(kind)


def declared() -> dict[str, set[str]]:
    """Return the classes that declare a setting themselves, by the setting's name."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind in classes():
        for name in kind.__annotations__.keys() & kind.model_fields.keys():
            found[name].add(f"{kind.__module__}.{kind.__name__}")
    return found


def test_each_setting_is_declared_once() -> None:
    """No two classes declare the same setting: a process that needs one of another inherits its class."""
    assert {name: owners for name, owners in declared().items() if len(owners) > 1} == {}
    assert declared().keys() >= {"kafka_topic", "ingest_listen", "gateway_listen", "etl_group", "local_directory"}


def test_each_setting_is_described() -> None:
    """Each setting has a description that is a whole sentence."""
    undescribed = {
        f"{kind.__name__}.{name}"
        for kind in classes()
        for name, field in kind.model_fields.items()
        if not (field.description or "").endswith(".")
    }

    assert undescribed == set()
