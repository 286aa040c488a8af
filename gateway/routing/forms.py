"""Forms as grpc-gateway reads them: one can override its method, and can be a GET whose query is too long for a URL."""

from __future__ import annotations

from gateway.request import Request
from gateway.routing.routes import Match, Routes

METHOD_OVERRIDE = "X-HTTP-Method-Override"
METHODS_WITH_FORM = ("POST", "PUT", "PATCH")


def effective_method(request: Request, routes: Routes, path: str) -> str:
    """Return the method of the route: a posted form can name another one, or is a GET where there is no POST."""
    if request.method != "POST" or not request.is_form:
        return request.method
    override = request.headers.get(METHOD_OVERRIDE)
    if override:
        return override.upper()
    methods = routes.methods(path)
    return "GET" if "GET" in methods and "POST" not in methods else "POST"


def stands_for_query(request: Request, match: Match) -> bool:
    """Whether the body stands for query parameters: it is a form, and the route does not read it as a body."""
    if request.method not in METHODS_WITH_FORM or not request.is_form:
        return False
    is_override = request.method == "POST" and bool(request.headers.get(METHOD_OVERRIDE))
    return is_override or match.route.http_method == "GET" or not match.route.body


def joined_query(form: bytes, query: str) -> str:
    """Return the parameters of a form and of a query, in the order in which Go reads them."""
    return "&".join(filter(None, (form.decode("latin-1"), query)))
