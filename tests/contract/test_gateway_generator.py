"""The gateway's OpenAPI document compared with that of grpc-gateway's generator, protoc-gen-openapiv3 v2.33.0."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2

from gateway.descriptors import load_schema
from gateway.openapi.document import document
from gateway.routing.routes import load_routes
from gateway.settings import product_descriptors
from tests.contract.conftest import ROOT, Generated

PLUGIN = shutil.which("protoc-gen-openapiv3", path=str(ROOT / ".local" / "bin")) or shutil.which("protoc-gen-openapiv3")
pytestmark = pytest.mark.skipif(PLUGIN is None, reason="protoc-gen-openapiv3 is not installed: .ci/run builds it by Go")
RUN_SECONDS_MAX = 60
VERSION = "1.2.3"
REFERENCE = "#/components/schemas/"
# What only the gateway's document has: the rules of buf.validate, and examples.
GATEWAY_KEYWORDS = frozenset({
    "examples", "example", "format", "pattern", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "required", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems",
})  # fmt: skip
# The gateway has its own descriptions of Google's types, and shows examples apart from comments.
IN_OTHER_WORDS = "description"


def generated(descriptors: bytes) -> dict[str, Any]:
    """Run the plugin as protoc does; return the paths and schemas of its documents as one document."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors).file
    request = plugin_pb2.CodeGeneratorRequest(
        proto_file=files,
        file_to_generate=[file.name for file in files if file.service],
        parameter=",".join(f"M{file.name}=local/{file.name.removesuffix('.proto')}" for file in files),
    )
    assert PLUGIN is not None
    process = subprocess.run(
        [PLUGIN], input=request.SerializeToString(), capture_output=True, timeout=RUN_SECONDS_MAX, check=True
    )
    response = plugin_pb2.CodeGeneratorResponse.FromString(process.stdout)
    assert not response.error, response.error
    documents = [json.loads(file.content) for file in response.file]
    # As openapiv3-merge does: the first document that declares something about the whole API wins.
    whole: dict[str, Any] = {"paths": {}, "schemas": {}, "securitySchemes": {}}
    for made in reversed(documents):
        whole["paths"].update(made["paths"])
        for kind in ("schemas", "securitySchemes"):
            whole[kind].update(made["components"].get(kind, {}))
        whole |= {name: made[name] for name in ("info", "security") if name in made}
    return whole


def written(descriptors: bytes) -> dict[str, Any]:
    """Return the gateway's document in the same form, with the services that a server may not run."""
    schema = load_schema(descriptors)
    made = document(schema, load_routes(schema), VERSION, {service.full_name for service in schema.services()})
    return made | {kind: made["components"].get(kind, {}) for kind in ("schemas", "securitySchemes")}


def differences(mine: Any, theirs: Any, place: str) -> list[str]:
    """Name the places where the gateway's document differs by more than rules and examples."""
    if isinstance(theirs, list) and isinstance(mine, list) and len(theirs) == len(mine):
        pairs = enumerate(zip(mine, theirs, strict=True))
        return [found for number, (one, other) in pairs for found in differences(one, other, f"{place}[{number}]")]
    if not isinstance(theirs, dict) or not isinstance(mine, dict):
        return [] if mine == theirs or is_bounded_integer(mine, theirs) else [f"{place}: {mine!r}, not {theirs!r}"]
    # The names of properties are not keywords.
    spare = frozenset() if place.endswith(".properties") else GATEWAY_KEYWORDS | {IN_OTHER_WORDS}
    extra = [f"{place}.{key} is only in the document of the gateway" for key in mine.keys() - theirs.keys() - spare]
    lost = [f"{place}.{key} is missing" for key in theirs.keys() - mine.keys()]
    both = [key for key in theirs if key in mine and (key not in spare or key != IN_OTHER_WORDS)]
    return extra + lost + [found for key in both for found in differences(mine[key], theirs[key], f"{place}.{key}")]


def is_bounded_integer(mine: Any, theirs: Any) -> bool:
    """Whether a 64-bit integer, to the generator a string, may also be a number, which can have bounds."""
    return bool(mine == ["integer", "string"] and theirs == "string")


def resolved(schema: Any, schemas: dict[str, Any]) -> Any:
    """Follow a reference: the generator describes the message of a whole body in place, the gateway refers to it."""
    name = schema.get("$ref", "").removeprefix(REFERENCE)
    return schemas[name] if name else schema


def comparable(whole: dict[str, Any]) -> dict[str, Any]:
    """Return what both documents must have for every operation."""
    return {
        f"{method} {path}": {
            "operation": operation["operationId"],
            "tags": operation["tags"],
            "summary": operation.get("summary"),
            "parameters": operation.get("parameters", []),
            "body": resolved(content(operation["requestBody"]), whole["schemas"])
            if "requestBody" in operation
            else None,
            "answer": content(success(operation["responses"])),
            "error": content(operation["responses"]["default"]),
        }
        for path, item in whole["paths"].items()
        for method, operation in item.items()
    }


def content(part: dict[str, Any]) -> Any:
    """Return the schema of a request or response body."""
    return part["content"]["application/json"]["schema"]


def success(responses: dict[str, Any]) -> Any:
    """Return the response of a success: the generator's is 200, the gateway's are the declared ones or any."""
    return next(response for status, response in responses.items() if status.startswith("2"))


def test_product() -> None:
    """Paths, operations, parameters, bodies and schemas are those of the generator, with rules added."""
    check(product_descriptors().read_bytes())


def test_declarations_of_the_product() -> None:
    """Title, summary, introduction, security and its schemes are what the generator makes of the same options."""
    descriptors = product_descriptors().read_bytes()
    theirs, mine = generated(descriptors), written(descriptors)

    assert mine["info"] == theirs["info"] | {"version": VERSION, "description": mine["info"]["description"]}
    assert mine["info"]["description"].startswith(theirs["info"]["description"])
    assert (mine["security"], mine["securitySchemes"]) == (theirs["security"], theirs["securitySchemes"])
    assert mine["security"] == [{"bearer": []}, {}]


def test_another_service(events: Generated) -> None:
    """The same holds for events.v1, which has maps, oneofs, enums and well-known types."""
    check(events.descriptors.read_bytes())


def check(descriptors: bytes) -> None:
    """Compare both documents of a descriptor set."""
    theirs, mine = generated(descriptors), written(descriptors)
    known = {name: schema for name, schema in mine["schemas"].items() if name in theirs["schemas"]}

    assert differences(comparable(mine), comparable(theirs), "paths") == []
    assert differences(known, theirs["schemas"], "schemas.properties") == []
