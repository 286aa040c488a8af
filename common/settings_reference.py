"""What a settings class declares, as text: the one source of `--help` and of the reference page of settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from common.settings import PREFIX, Address, Documented, Settings

TYPES: dict[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    SecretStr: "secret text",
    Path: "path",
    Address: "host:port",
}
# A name ends in its unit, which these may follow.
AFTER_THE_UNIT = ("_max", "_min", "_in_flight")
UNITS = (
    "bytes_per_second",
    "kilobytes",
    "bytes",
    "seconds",
    "hours",
    "events",
    "rows",
    "values",
    "tokens",
    "requests",
    "connections",
    "streams",
    "bodies",
    "partitions",
)
# What pydantic's marks are named, in the order of reading: "from 1 to 60", "above 0 to 1".
LIMITS = {
    "ge": "from {:,}",
    "gt": "above {:,}",
    "le": "to {:,}",
    "lt": "below {:,}",
    "min_length": "at least {:,} characters",
    "max_length": "at most {:,} characters",
}


@dataclass(frozen=True)
class SettingReference:
    """One setting: its variable, type, unit, default and limits as text, and what it means.

    The unit and the limits are empty where there are none; an empty default means that the setting is not set.
    """

    variable: str
    type: str
    unit: str
    default: str
    limits: str
    description: str

    @property
    def summary(self) -> str:
        """Type, unit, limits and default in one line."""
        words = ", ".join(word for word in (self.type, self.unit, self.limits) if word)
        return f"{words}; default: {self.default}" if self.default else f"{words}; not set by default"


def settings_of(kind: type[Settings]) -> Iterator[SettingReference]:
    """Yield the settings of a class: its own in the order of their declaration, then those of each base class."""
    for name in names_of(kind):
        field = kind.model_fields[name]
        marks = list(marks_of(field))
        documented = next((each for each in marks if isinstance(each, Documented)), Documented())
        type_name = documented.type or type_of(field.annotation)
        yield SettingReference(
            PREFIX + name.upper(),
            type_name,
            unit_of(name) if type_name in {"integer", "number"} else "",
            documented.default or default_of(field),
            limits_of(field.annotation, marks),
            " ".join((field.description or "").split()),
        )


def names_of(kind: type[Settings]) -> list[str]:
    """Return the fields' names, each once, at the first class that declares it."""
    declared = (name for each in kind.__mro__ for name in vars(each).get("__annotations__", ()))
    return [name for name in dict.fromkeys(declared) if name in kind.model_fields]


def marks_of(field: FieldInfo) -> Iterator[object]:
    """Yield what stands beside the type in Annotated, also inside of `| None`."""
    yield from field.metadata
    for part in get_args(field.annotation):
        yield from getattr(part, "__metadata__", ())


def type_of(annotation: Any) -> str:  # noqa: ANN401 -- an annotation may be any object
    """Return the name of a type; `| None` is left out, because not setting a variable has no notation."""
    if get_origin(annotation) is Literal:
        return "text"
    if annotation in TYPES:
        return TYPES[annotation]
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if len(parts) == 1 and type(None) in get_args(annotation):
        return type_of(getattr(parts[0], "__origin__", parts[0]))
    raise TypeError(f"{annotation} needs a Documented beside it, or a line in TYPES")


def unit_of(name: str) -> str:
    """Return the unit that a name ends in; empty when it has none."""
    for suffix in AFTER_THE_UNIT:
        name = name.removesuffix(suffix)
    return next((unit.replace("_", " ") for unit in UNITS if name.endswith(f"_{unit}")), "")


def default_of(field: FieldInfo) -> str:
    """Return the default as one writes it into the variable; empty when the setting is not set."""
    default: object = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple) and not isinstance(default, Address):
        return ",".join(map(str, default))
    return "" if default is None else str(default).removesuffix(".0")


def limits_of(annotation: Any, marks: Iterable[object]) -> str:  # noqa: ANN401 -- an annotation may be any object
    """Return which values are accepted; empty when the type, or its Documented, is the only limit."""
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(get_args(annotation))}"
    found = {name: value for mark in marks for name in LIMITS if (value := getattr(mark, name, None)) is not None}
    if "max_length" in found:
        return f"{found.get('min_length', 0)} to {found['max_length']:,} characters"
    return " ".join(words.format(found[name]) for name, words in LIMITS.items() if name in found)
