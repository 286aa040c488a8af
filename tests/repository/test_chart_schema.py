"""The chart takes every setting of its processes and nothing else, within the limits that the settings classes have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import pytest
import yaml

from common.settings import variable_of
from deploy.helm.__main__ import chart_files
from deploy.helm.processes import PROCESSES, is_file
from deploy.helm.rendering import CHART, ChartError, run_helm
from deploy.helm.setting_schemas import is_secret, is_text
from tests.support.charts.manifests import container, needs_helm, pods, rendered, values_file

FILE = {"existingSecret": "a-secret", "key": "a.key"}
ADDRESS = "0.0.0.0:7000"
# One of them is valid for each setting that is a text.
TEXTS = ("a", ADDRESS, "https://id.example/token", "clickhouse://clickhouse:9000/ugc")
EVERY = [
    pytest.param(process, name, id=f"{process}-{name}")
    for process, each in PROCESSES.items()
    for name, _ in each.fields()
]


def schema_of(variable: str) -> dict[str, Any]:
    """Return the schema of a variable."""
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return dict(schema["$defs"][variable])


def values_of(process: str) -> dict[str, Any]:
    """Return values that give every setting of a process, each in one of its forms."""
    forms: dict[str, dict[str, Any]] = {"settings": {}, "secretSettings": {}, "files": {}}
    for name, field in PROCESSES[process].fields():
        variable = variable_of(name)
        if is_file(name, field):
            forms["files"][variable] = FILE
        elif is_secret(field):
            forms["secretSettings"][variable] = FILE
        else:
            forms["settings"][variable] = plain(variable)
    return {process: forms}


def plain(variable: str) -> object:
    """Return a valid plain value."""
    schema = schema_of(variable)
    if "enum" in schema:
        return schema["enum"][-1]
    if schema.get("type") == "string":
        is_valid = jsonschema.Draft202012Validator(schema).is_valid
        return next(text for text in TEXTS if is_valid(text))
    if "anyOf" in schema:
        return schema["anyOf"][0]["maximum"]
    if schema["type"] == "boolean":
        return True
    return schema["maximum"]


def test_fresh() -> None:
    """The generated files are what the settings classes give now."""
    assert [path.name for path, text in chart_files().items() if path.read_text(encoding="utf-8") != text] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_can_be_given(process: str, tmp_path: Path) -> None:
    """Each setting of a process reaches it."""
    found = pods(rendered(values_file(tmp_path, values_of(process))))[process]

    assert {each["name"] for each in container(found)["env"]} >= {
        variable_of(name) for name, _ in PROCESSES[process].fields()
    }


def test_a_shared_setting_reaches_its_readers(tmp_path: Path) -> None:
    """A setting for all processes is given to those that read it, and to no other."""
    found = pods(rendered(values_file(tmp_path, {"settings": {"UGC_KAFKA_TOPIC": "a", "UGC_GATEWAY_LANE": False}})))

    readers = {
        name for name, pod in found.items() if any(e["name"] == "UGC_KAFKA_TOPIC" for e in container(pod)["env"])
    }
    assert readers == {"ingest", "etl", "migrate"}
    assert ["UGC_GATEWAY_LANE" in str(container(found[name])) for name in ("gateway", "ingest")] == [True, False]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"settings": {"UGC_KAFKA_TOPICS": "a"}}, "UGC_KAFKA_TOPICS"),
        ({"etl": {"settings": {"UGC_INGEST_LISTEN": ADDRESS}}}, "UGC_INGEST_LISTEN"),
        ({"files": {"UGC_KAFKA_TOPIC": FILE}}, "UGC_KAFKA_TOPIC"),
        ({"settings": {"UGC_INGEST_AUTH_SECRET": "a" * 40}}, "UGC_INGEST_AUTH_SECRET"),
        ({"settings": {"UGC_CLICKHOUSE_URL": "clickhouse://a:b@c:9000/ugc"}}, "UGC_CLICKHOUSE_URL"),
        ({"settings": {"UGC_INGEST_MANAGEMENT_LISTEN": ""}}, "UGC_INGEST_MANAGEMENT_LISTEN"),
        ({"settings": {"UGC_INGEST_LISTEN": "0.0.0.0:0"}}, "UGC_INGEST_LISTEN"),
        ({"settings": {"UGC_INGEST_DEBUG": "yes"}}, "UGC_INGEST_DEBUG"),
        ({"settings": {"UGC_INGEST_WORKERS": "many"}}, "UGC_INGEST_WORKERS"),
        ({"settings": {"UGC_LOG_LEVEL": "loud"}}, "UGC_LOG_LEVEL"),
        ({"settings": {"UGC_KAFKA_TOPIC": "a topic"}}, "UGC_KAFKA_TOPIC"),
        ({"files": {"UGC_INGEST_AUTH_JWKS_FILE": {"key": "a"}}}, "UGC_INGEST_AUTH_JWKS_FILE"),
        ({"ingest": {"extraEnv": [{"name": "UGC_TYPO", "value": "a"}]}}, "extraEnv"),
        ({"ingest": {"replica": 3}}, "replica"),
        ({"replicas": 3}, "replicas"),
    ],
)
def test_refused(values: dict[str, Any], named: str, tmp_path: Path) -> None:
    """`helm lint` fails with the name of what is unknown, of the wrong type, or belongs into a Secret."""
    needs_helm()
    with pytest.raises(ChartError, match=named):
        run_helm("lint", str(CHART), "--values", str(values_file(tmp_path, values)))


@pytest.mark.parametrize(("process", "name"), EVERY)
def test_limits(process: str, name: str) -> None:
    """The schema accepts a number at the limit that its class has, and no number beyond it."""
    field, schema = PROCESSES[process].settings.model_fields[name], schema_of(variable_of(name))
    is_valid = jsonschema.Draft202012Validator(schema).is_valid
    marks = {
        kind: getattr(mark, kind) for mark in field.metadata for kind in ("ge", "gt", "le", "lt") if hasattr(mark, kind)
    }
    number = schema.get("type") in {"integer", "number"}

    assert bool(marks) == number or "anyOf" in schema
    assert is_valid(marks["le"]) if "le" in marks else not number
    for kind, limit in marks.items():
        beyond = limit + 1 if kind in {"le", "lt"} else limit - 1
        assert not is_valid(beyond), kind
    if number:
        assert not is_valid(str(marks["le"]))
    if schema.get("type") == "boolean":
        assert [value for value in (True, False, "true", 1) if is_valid(value)] == [True, False]


def test_secrets_are_never_plain() -> None:
    """A setting that is secret by its type can be given by a Secret alone, and every text can be."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]
    for process, each in PROCESSES.items():
        for name, field in each.fields():
            of_process = schema[process]["properties"]
            variable = variable_of(name)
            assert is_secret(field) != (variable in of_process["settings"]["properties"]), name
            if is_text(field):
                assert variable in {**of_process["secretSettings"]["properties"], **of_process["files"]["properties"]}


def test_values_are_documented() -> None:
    """Each value of the schema stands in values.yaml, and the other way round."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    assert missing(schema, values) == {"global"}


def missing(schema: dict[str, Any], values: dict[str, Any], path: str = "") -> set[str]:
    """Return the paths that only one of both has; settings and the like are empty in values.yaml."""
    found: set[str] = set()
    for name in schema["properties"].keys() | values.keys():
        below = schema["properties"].get(name)
        if below is None or name not in values:
            found.add(f"{path}{name}")
        elif values[name] and "properties" in below:
            found |= missing(below, values[name], f"{path}{name}.")
    return found
