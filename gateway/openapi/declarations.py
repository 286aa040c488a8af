"""What the descriptors declare about their OpenAPI document: grpc-gateway's openapiv3 options as plain JSON.

`openapiv3_document`, `openapiv3_tag` and `openapiv3_operation` are read as protoc-gen-openapiv3 and openapiv3-merge
read them. Two extensions have a meaning of their own here, because those options have no field for it: `x-responses` of
an operation maps HTTP statuses to their descriptions, `x-optional` of a service marks one that a server may not run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from gateway.descriptors import Schema
from gateway.errors import DescriptorError

OPTIONS = "grpc.gateway.protoc_gen_openapiv3.options."
DOCUMENT, TAG, OPERATION = f"{OPTIONS}openapiv3_document", f"{OPTIONS}openapiv3_tag", f"{OPTIONS}openapiv3_operation"
RESPONSES, OPTIONAL = "x-responses", "x-optional"
STATUS = re.compile(r"[2-5][0-9]{2}", re.ASCII)
SCHEME_TYPES = {
    "TYPE_API_KEY": "apiKey",
    "TYPE_HTTP": "http",
    "TYPE_MUTUAL_TLS": "mutualTLS",
    "TYPE_OAUTH2": "oauth2",
    "TYPE_OPEN_ID_CONNECT": "openIdConnect",
}
SCHEME_PLACES = {"IN_QUERY": "query", "IN_HEADER": "header", "IN_COOKIE": "cookie"}
# What OpenAPI requires of a scheme of each type.
SCHEME_FIELDS = {
    "apiKey": ("name", "in"),
    "http": ("scheme",),
    "mutualTLS": (),
    "oauth2": ("flows",),
    "openIdConnect": ("openIdConnectUrl",),
}


class Declarations:
    """Reads the options of one descriptor set; DescriptorError for those that OpenAPI does not allow."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def document(self, services: Iterable[ServiceDescriptor]) -> dict[str, Any]:
        """Return the document-level fields that the files of the services declare, merged as openapiv3-merge does.

        `info`, `servers`, `externalDocs` and `security` come from the first file that has them.
        """
        merged: dict[str, Any] = {}
        schemes: dict[str, Any] = {}
        files = {service.file.name: service.file for service in services}
        for file in files.values():
            declared = self._option(file, "FileOptions", DOCUMENT)
            schemes |= declared.pop("components", {}).get("securitySchemes", {})
            merged = with_extensions(declared) | merged
        if "info" in merged:
            merged["info"] = with_extensions(merged["info"])
        if schemes:
            merged["securitySchemes"] = {name: scheme(name, given) for name, given in sorted(schemes.items())}
        if "security" in merged:
            merged["security"] = requirements(merged["security"], schemes)
        return merged

    def tag(self, service: ServiceDescriptor) -> dict[str, Any]:
        """Return the fields of a service's tag that it declares."""
        declared = with_extensions(self._option(service, "ServiceOptions", TAG))
        declared.pop(OPTIONAL, None)
        return declared

    def is_optional(self, service: ServiceDescriptor) -> bool:
        """Whether a server may run without this service."""
        return self._option(service, "ServiceOptions", TAG).get("extensions", {}).get(OPTIONAL) is True

    def operation(self, method: MethodDescriptor, schemes: Iterable[str]) -> dict[str, Any]:
        """Return the fields of an operation that a method declares, without its responses."""
        declared = with_extensions(self._option(method, "MethodOptions", OPERATION))
        declared.pop(RESPONSES, None)
        if "security" in declared:
            declared["security"] = requirements(declared["security"], schemes)
        return declared

    def responses(self, method: MethodDescriptor) -> dict[int, str]:
        """Return the descriptions of the statuses that a method declares."""
        declared = self._option(method, "MethodOptions", OPERATION).get("extensions", {}).get(RESPONSES, {})
        if not isinstance(declared, dict) or not all(
            STATUS.fullmatch(status) and isinstance(text, str) for status, text in declared.items()
        ):
            raise DescriptorError(f"{method.full_name}: {RESPONSES} must map HTTP statuses to descriptions")
        return {int(status): text for status, text in sorted(declared.items())}

    def _option(self, element: Any, options: str, extension: str) -> dict[str, Any]:  # noqa: ANN401 -- any descriptor
        """Return an option as JSON, empty when the element does not have it."""
        found = self._schema.option(element, f"google.protobuf.{options}", extension)
        if found is None:
            return {}
        try:
            return json_format.MessageToDict(found)
        except (json_format.Error, ValueError) as error:  # NaN, for example
            raise DescriptorError(f"{extension} has no JSON form: {error}") from error


def with_extensions(declared: dict[str, Any]) -> dict[str, Any]:
    """Return an object of OpenAPI with its extensions in place; others than x-* are dropped, as the generator does."""
    extensions = {name: value for name, value in declared.get("extensions", {}).items() if name.startswith("x-")}
    return {name: value for name, value in declared.items() if name != "extensions"} | extensions


def scheme(name: str, declared: dict[str, Any]) -> dict[str, Any]:
    """Return a security scheme in OpenAPI's spelling."""
    kind = SCHEME_TYPES.get(declared.get("type", ""))
    if kind is None:
        raise DescriptorError(f"the security scheme {name!r} has no type")
    made = {**declared, "type": kind}
    if "in" in made:
        if made["in"] not in SCHEME_PLACES:
            raise DescriptorError(f"the security scheme {name!r} is in no known place")
        made["in"] = SCHEME_PLACES[made["in"]]
    missing = [field for field in SCHEME_FIELDS[kind] if field not in made]
    if missing:
        raise DescriptorError(f"the security scheme {name!r} is of type {kind}, which needs {' and '.join(missing)}")
    for flow in made.get("flows", {}).values():
        flow.setdefault("scopes", {})
    return made


def requirements(declared: list[dict[str, Any]], schemes: Iterable[str]) -> list[dict[str, list[str]]]:
    """Return security requirements in OpenAPI's spelling; an empty one makes them optional."""
    made = [
        {name: given.get("scopes", []) for name, given in requirement.get("schemes", {}).items()}
        for requirement in declared
    ]
    unknown = sorted({name for requirement in made for name in requirement} - set(schemes))
    if unknown:
        raise DescriptorError(f"the security scheme {unknown[0]!r} is required, but not declared")
    return made
