"""Makes what the gateway serves of descriptors: routes, JSON and pages."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from gateway.app import Api
from gateway.descriptors import Schema, load_schema
from gateway.errors import OverloadedError
from gateway.openapi.document import document
from gateway.openapi.page import INDEX_PATH, NOT_LEARNED, DocumentationPages
from gateway.pages import Health
from gateway.routing.routes import Routes, load_routes
from gateway.settings import GatewaySettings
from gateway.transcoding import Transcoder


class UnknownRoutes(Routes):
    """The routes before the gateway has learned any: a request is to be sent again."""

    def __init__(self) -> None:
        super().__init__(())

    def match(self, http_method: str, path: str) -> NoReturn:  # noqa: ARG002 -- as in Routes
        """Raise OverloadedError, which is 503 with a delay."""
        raise OverloadedError(NOT_LEARNED, "not_learned")


def unknown_api(settings: GatewaySettings, health: Health) -> Api:
    """Return what is served before anything has been learned."""
    pages = DocumentationPages(None, has_demo=settings.gateway_demo).pages
    return Api(UnknownRoutes(), Transcoder(load_schema(b"")), {**pages, **health.pages})


def build_api(settings: GatewaySettings, health: Health, schema: Schema, served: Collection[str] = ()) -> Api:
    """Return what to serve of descriptors; DescriptorError when they cannot be served.

    `served` are the optional services that the server runs: the others are served, but not documented.
    """
    routes = load_routes(schema)
    transcoder = Transcoder(schema, settings.gateway_values_max, settings.gateway_answer_bytes_max)
    transcoder.prepare(routes.all)
    return with_document(Api(routes, transcoder, health.pages), settings, schema, served)


def with_document(api: Api, settings: GatewaySettings, schema: Schema, served: Collection[str]) -> Api:
    """Return the same with the document of a server that runs these optional services."""
    made = document(schema, api.routes, settings.gateway_api_version, served)
    pages = dict(DocumentationPages(made, has_demo=settings.gateway_demo).pages)
    if api.routes.methods(INDEX_PATH):
        del pages[INDEX_PATH]  # the service has a page of its own there
    return Api(api.routes, api.transcoder, {**api.pages, **pages})
