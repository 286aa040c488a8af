"""The OpenAPI document of the product: valid, complete, with the rules of the proto, and stable."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.descriptors import load_schema
from gateway.openapi.document import document
from gateway.routing.routes import load_routes
from gateway.settings import product_descriptors


def make() -> dict[str, Any]:
    schema = load_schema(product_descriptors().read_bytes())
    return document(schema, load_routes(schema))


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return make()


def test_the_document_is_valid(openapi: dict[str, Any]) -> None:
    """It is OpenAPI 3.1 by the specification's own schema."""
    validate(openapi)


def test_the_document_is_stable(openapi: dict[str, Any]) -> None:
    """The same descriptors give the same document."""
    assert list(openapi.items()) == list(make().items())


def test_operations_are_named_as_grpc_gateway_names_them(openapi: dict[str, Any]) -> None:
    """Operations are Service_Method, at the paths of the options."""
    names = {path: operation["operationId"] for path, item in openapi["paths"].items() for operation in item.values()}
    assert names == {
        "/api/v1/produce": "IngestService_Produce",
        "/api/v1/batch_produce": "IngestService_BatchProduce",
        "/api/v1/random_batch_produce": "DebugService_RandomBatchProduce",
    }


def test_errors_are_status(openapi: dict[str, Any]) -> None:
    """Every operation answers anything unexpected with google.rpc.Status."""
    for item in openapi["paths"].values():
        schema = item["post"]["responses"]["default"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/google.rpc.Status"}


def test_rules_of_the_proto_are_in_the_schemas(openapi: dict[str, Any]) -> None:
    """Formats, patterns, bounds and required fields come from buf.validate."""
    payload = openapi["components"]["schemas"]["ugc.v1.Payload"]
    assert payload["required"] == ["movie_id", "user_id", "event", "event_timestamp"]
    assert payload["properties"]["movie_id"]["format"] == "uuid"
    assert payload["properties"]["event"]["pattern"].startswith("^[A-Za-z]")
    assert payload["properties"]["event_timestamp"]["minimum"] == 1
    assert payload["properties"]["event_data"]["maxLength"] == 32_768
    batch = openapi["paths"]["/api/v1/batch_produce"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (batch["minItems"], batch["maxItems"]) == (1, 10_000)


def test_comments_become_descriptions(openapi: dict[str, Any]) -> None:
    """No element of the document is without the comment that the proto has for it."""
    for name, schema in openapi["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"
