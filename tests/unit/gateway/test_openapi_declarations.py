"""What descriptors declare about their OpenAPI document by grpc-gateway's options, beyond what the product uses."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway.descriptors import load_schema
from gateway.errors import DescriptorError
from gateway.openapi.document import document
from gateway.routing.routes import load_routes
from tests.support.inputs.descriptors import HEAD, compiled, service

OPTIONS = "(grpc.gateway.protoc_gen_openapiv3.options"


def described(*protos: str, served: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the document of protos, each a file of its own, which must be valid."""
    schema = load_schema(compiled(**{f"file{number}": source for number, source in enumerate(protos)}))
    made = document(schema, load_routes(schema), "7.0", served)
    validate(made)
    return made


def file_option(text: str) -> str:
    return f"option {OPTIONS}.openapiv3_document) = {{{text}}};"


def extension(option: str, key: str, value: str) -> str:
    return f'option {OPTIONS}.{option}) = {{extensions: {{key: "{key}" value: {{{value}}}}}}};'


def test_nothing_declared() -> None:
    """Without options the title names the services, the version is the given one, any success status is possible."""
    made = described(HEAD + service("Shop"))

    assert (made["info"]["title"], made["info"]["version"]) == ("Shop", "7.0")
    assert made["info"]["description"].startswith("## Request headers")
    assert list(made["paths"]["/shop"]["get"]["responses"]) == ["2XX", "400", "431", "503", "504", "default"]
    assert "security" not in made
    assert sorted(made["components"]["responses"]) == ["400", "431", "503", "504"]


def test_document() -> None:
    """Everything that a file may declare about the whole API is in the document."""
    declared = file_option(
        'info: {title: "The shop" version: "2.1" terms_of_service: "https://shop.example/terms"'
        ' contact: {name: "Sales"} license: {name: "MIT" identifier: "MIT"}'
        ' extensions: {key: "x-logo" value: {string_value: "/logo.svg"}}}'
        ' servers: {url: "https://shop.example"} external_docs: {url: "https://shop.example/docs"}'
        ' tags: {name: "more" description: "Of no service."} extensions: {key: "x-root" value: {number_value: 3}}'
    )
    made = described(HEAD + declared + service("Shop"))

    assert made["info"].pop("description")
    assert made["info"] == {
        "title": "The shop",
        "version": "2.1",
        "termsOfService": "https://shop.example/terms",
        "contact": {"name": "Sales"},
        "license": {"name": "MIT", "identifier": "MIT"},
        "x-logo": "/logo.svg",
    }
    assert made["servers"] == [{"url": "https://shop.example"}]
    assert made["externalDocs"] == {"url": "https://shop.example/docs"}
    assert made["tags"] == [{"name": "Shop"}, {"name": "more", "description": "Of no service."}]
    assert made["x-root"] == 3


def test_first_file_decides() -> None:
    """Of several files the first that declares `info` decides it; security schemes of all files are there."""
    key = 'components: {security_schemes: {key: "key" value: {type: TYPE_API_KEY name: "X-Key" in: IN_HEADER}}}'
    mutual = 'info: {title: "Second"} components: {security_schemes: {key: "mtls" value: {type: TYPE_MUTUAL_TLS}}}'
    made = described(
        HEAD + file_option(f'info: {{title: "First"}} {key}') + service("One"),
        HEAD + file_option(mutual) + service("Two"),
    )

    assert made["info"]["title"] == "First"
    assert made["components"]["securitySchemes"] == {
        "key": {"type": "apiKey", "name": "X-Key", "in": "header"},
        "mtls": {"type": "mutualTLS"},
    }


def test_oauth() -> None:
    """A flow of OAuth 2 has scopes, which OpenAPI requires even when there are none."""
    flow = 'client_credentials: {token_url: "https://id.example/token"}'
    scheme = f'components: {{security_schemes: {{key: "id" value: {{type: TYPE_OAUTH2 flows: {{{flow}}}}}}}}}'
    made = described(HEAD + file_option(scheme) + service("Shop"))

    assert made["components"]["securitySchemes"]["id"]["flows"] == {
        "clientCredentials": {"tokenUrl": "https://id.example/token", "scopes": {}}
    }


def test_operation() -> None:
    """A method replaces what its comments give, and adds what only it can state."""
    option = (
        f'option {OPTIONS}.openapiv3_operation) = {{summary: "Reads." operation_id: "read" tags: "goods"'
        ' deprecated: true security: {schemes: {key: "key" value: {scopes: "read"}}}'
        ' extensions: {key: "x-cost" value: {number_value: 1}}};'
    )
    scheme = 'components: {security_schemes: {key: "key" value: {type: TYPE_API_KEY name: "X-Key" in: IN_QUERY}}}'
    made = described(HEAD + file_option(scheme) + service("Shop", method=option))
    operation = made["paths"]["/shop"]["get"]

    assert (operation["summary"], operation["operationId"], operation["tags"]) == ("Reads.", "read", ["goods"])
    assert (operation["deprecated"], operation["x-cost"]) == (True, 1)
    assert operation["security"] == [{"key": ["read"]}]
    assert operation["responses"]["401"] == {"$ref": "#/components/responses/401"}


def test_statuses() -> None:
    """`x-responses` replaces the success statuses, adds errors, and comes before the gateway's text of the same one."""
    statuses = "".join(
        f'fields: {{key: "{status}" value: {{string_value: "{text}"}}}}'
        for status, text in (("202", "Accepted."), ("409", "It exists."), ("503", "The shop is closed."))
    )
    made = described(
        HEAD + service("Shop", method=extension("openapiv3_operation", "x-responses", f"struct_value: {{{statuses}}}"))
    )
    operation = made["paths"]["/shop"]["get"]
    responses = operation["responses"]

    assert list(responses) == ["202", "400", "409", "431", "503", "504", "default"]
    assert responses["202"]["description"] == "Accepted."
    assert responses["409"]["description"] == "It exists."
    assert responses["503"]["description"].startswith("The shop is closed. The service cannot be reached")
    assert responses["503"]["headers"] == {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    assert "x-responses" not in operation


def test_optional_service() -> None:
    """A service with `x-optional` is in the document while the server runs it; others always are."""
    optional = extension("openapiv3_tag", "x-optional", "bool_value: true")
    protos = HEAD + service("Shop") + service("Debug", body=optional)

    assert list(described(protos)["paths"]) == ["/shop"]
    assert [tag["name"] for tag in described(protos)["tags"]] == ["Shop"]
    assert list(described(protos, served=("shop.v1.Debug",))["paths"]) == ["/shop", "/debug"]
    assert described(protos, served=("shop.v1.Debug",))["tags"][1] == {"name": "Debug"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (file_option('components: {security_schemes: {key: "k" value: {}}}') + service("Shop"), "'k' has no type"),
        (
            file_option('components: {security_schemes: {key: "k" value: {type: TYPE_HTTP}}}') + service("Shop"),
            "'k' is of type http, which needs scheme",
        ),
        (
            file_option('security: {schemes: {key: "absent" value: {}}}') + service("Shop"),
            "'absent' is required, but not declared",
        ),
        (
            service("Shop", method=extension("openapiv3_operation", "x-responses", 'string_value: "201"')),
            "shop.v1.Shop.Get: x-responses must map HTTP statuses to descriptions",
        ),
        (
            service(
                "Shop",
                method=extension(
                    "openapiv3_operation",
                    "x-responses",
                    'struct_value: {fields: {key: "2xx" value: {string_value: "no"}}}',
                ),
            ),
            "x-responses must map HTTP statuses to descriptions",
        ),
        (service("Shop", method=extension("openapiv3_operation", "x-nan", "number_value: nan")), "has no JSON form"),
    ],
)
def test_refused(source: str, reason: str) -> None:
    """Options that cannot become a valid document are an error that names the element."""
    schema = load_schema(compiled(shop=HEAD + source))

    with pytest.raises(DescriptorError, match=reason.replace("(", r"\(")):
        document(schema, load_routes(schema), "1")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_body(method: str) -> None:
    """A body is described with every HTTP method for which the gateway reads one."""
    bound = service("Shop").replace('{get: "/shop"}', f'{{{method}: "/shop" body: "*"}}')
    operation = described(HEAD + bound)["paths"]["/shop"][method]

    assert operation["requestBody"]["required"]
    assert "413" in operation["responses"]
