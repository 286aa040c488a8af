"""Forms, which stand for query parameters in grpc-gateway: a form may override its method, or be a GET too long."""

from __future__ import annotations

from aiohttp.web import BaseRequest

from gateway.routing.routes import Found, Routes

FORM = "application/x-www-form-urlencoded"
OVERRIDE = "X-HTTP-Method-Override"
METHODS = ("POST", "PUT", "PATCH")


def meant_method(request: BaseRequest, routes: Routes, path: str) -> str:
    """Return the method, which a posted form may override; it may also stand for a GET."""
    if request.method != "POST" or content_type(request) != FORM:
        return request.method
    override = request.headers.get(OVERRIDE)
    if override:
        return override.upper()
    methods = routes.methods(path)
    return "GET" if "GET" in methods and "POST" not in methods else "POST"


def is_query(request: BaseRequest, found: Found) -> bool:
    """Whether the body stands for query parameters: it is a form, and nothing else reads it."""
    if request.method not in METHODS or content_type(request) != FORM:
        return False
    is_override = request.method == "POST" and bool(request.headers.get(OVERRIDE))
    return is_override or found.route.http_method == "GET" or not found.route.body


def content_type(request: BaseRequest) -> str:
    """Return the media type of a body; its parameters mean nothing here, and the library's parser is quadratic."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def joined(body: bytes, query: str) -> str:
    """Return the parameters of a form and of a query, in the order in which Go reads them."""
    return "&".join(filter(None, (body.decode("latin-1"), query)))
