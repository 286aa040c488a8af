"""The OpenAPI document of the product: valid, complete, stable, and with the rules of the proto."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.descriptors import load_schema
from gateway.openapi.document import document, to_text
from gateway.routing.routes import load_routes
from gateway.settings import GatewaySettings, product_descriptors
from local.settings import ROOT

DEBUG = "ugc.v1.DebugService"
STATUS = {"$ref": "#/components/schemas/google.rpc.Status"}


def make(*served: str) -> dict[str, Any]:
    """Return the document of a server that runs these optional services."""
    schema = load_schema(product_descriptors().read_bytes())
    return document(schema, load_routes(schema), "1.2.3", served)


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return make(DEBUG)


def test_valid(openapi: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1 by the specification's own schema."""
    validate(openapi)


def test_stable(openapi: dict[str, Any]) -> None:
    """The same descriptors give the same document."""
    assert to_text(openapi) == to_text(make(DEBUG))


def test_committed() -> None:
    """proto/gen holds the document that the gateway serves by default, with the version of this project."""
    committed = json.loads(product_descriptors().with_name("openapi.json").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    info = committed["info"]

    assert (info["title"], info["version"]) == ("UGC events", version)
    assert committed == make() | {"info": make()["info"] | {"version": version}}
    assert GatewaySettings().gateway_api_version == version


def test_operation_names(openapi: dict[str, Any]) -> None:
    """Operations are Service_Method, at the paths of the options."""
    names = {path: operation["operationId"] for path, item in openapi["paths"].items() for operation in item.values()}
    assert names == {
        "/api/v1/produce": "IngestService_Produce",
        "/api/v1/batch_produce": "IngestService_BatchProduce",
        "/api/v1/random_batch_produce": "DebugService_RandomBatchProduce",
    }


def test_introduction(openapi: dict[str, Any]) -> None:
    """The introduction has what the proto declares, then what the gateway adds, under these headings."""
    text = openapi["info"]["description"]
    headings = [line for line in text.splitlines() if line.startswith("#")]

    assert headings == ["## Authentication", "## Idempotency", "## Limits", "## Request headers", "## Errors"]
    assert text.startswith("Send an event for each action of a viewer")


def test_security(openapi: dict[str, Any]) -> None:
    """A bearer token is accepted; it is optional, because whether ingest requires one is a setting."""
    scheme = openapi["components"]["securitySchemes"]["bearer"]

    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    assert openapi["security"] == [{"bearer": []}, {}]


def test_statuses(openapi: dict[str, Any]) -> None:
    """Every operation lists its own statuses; each has a description, an error is google.rpc.Status."""
    of_all = ["400", "401", "408", "413", "415", "429", "431", "503", "504", "default"]
    listed = {path: list(item["post"]["responses"]) for path, item in openapi["paths"].items()}
    assert {path: sorted(statuses) for path, statuses in listed.items()} == {
        "/api/v1/produce": sorted(["201", "403", *of_all]),
        "/api/v1/batch_produce": sorted(["201", "207", "403", *of_all]),
        "/api/v1/random_batch_produce": sorted(["201", "404", *of_all]),
    }
    for item in openapi["paths"].values():
        for status, response in item["post"]["responses"].items():
            shown = openapi["components"]["responses"][status] if "$ref" in response else response
            assert shown["description"]
            is_error = not status.startswith("2")
            assert (shown["content"]["application/json"]["schema"] == STATUS) is is_error


def test_debug_service() -> None:
    """The debug service is in the document of a server that runs it, and in no other."""
    path = "/api/v1/random_batch_produce"

    assert path in make(DEBUG)["paths"]
    assert path not in make()["paths"]
    assert "DebugService" not in json.dumps(make())


def test_rules(openapi: dict[str, Any]) -> None:
    """Formats, patterns, bounds and required fields come from buf.validate."""
    payload = openapi["components"]["schemas"]["ugc.v1.Payload"]
    assert payload["required"] == ["movie_id", "user_id", "event", "event_timestamp"]
    assert payload["properties"]["movie_id"]["format"] == "uuid"
    assert payload["properties"]["event"]["pattern"].startswith("^[A-Za-z]")
    assert payload["properties"]["event_timestamp"]["minimum"] == 1
    assert payload["properties"]["event_data"]["maxLength"] == 32_768
    batch = openapi["paths"]["/api/v1/batch_produce"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (batch["minItems"], batch["maxItems"]) == (1, 10_000)


def test_comments(openapi: dict[str, Any]) -> None:
    """Every element of the document has the comment that the proto has for it."""
    for name, schema in openapi["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"
