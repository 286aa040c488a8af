"""The pages for people: an index, the documentation by Scalar's bundle, a demonstration; none uses another host."""

from __future__ import annotations

import html
import json
from pathlib import Path
from string import Template

from aiohttp.web import FileResponse, Response

from gateway.errors import OverloadedError
from gateway.openapi.document import to_text
from gateway.openapi.schemas import Json
from gateway.pages import Pages

STATIC = Path(__file__).parent / "static"
BUNDLE = STATIC / "scalar.js"
INDEX_PATH = "/"
PAGE_PATH = "/api/openapi"
DOCUMENT_PATH = "/api/openapi.json"
DEMO_PATH = "/api/demo"
BUNDLE_PATH = "/api/openapi/scalar.js"
BUNDLE_SECONDS_MAX = 86_400

# No other page shows these in a frame, sends a form from them, or changes what their addresses refer to.
NOT_EMBEDDED = "frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'none'"
INDEX_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
)
DEMO_POLICY = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; "
NOT_LEARNED = "the gateway has not yet learned from the service what it serves"
UNKNOWN_API = {"title": "gRPC gateway", "summary": NOT_LEARNED}
LINKS = {
    PAGE_PATH: ("Documentation", "every operation, with examples to send from the page"),
    DOCUMENT_PATH: ("OpenAPI document", "OpenAPI 3.1 as JSON, for code generators and clients"),
    DEMO_PATH: ("Demonstration", "a player that sends events"),
    "/healthz": ("Liveness", "200 while the process runs"),
    "/readyz": ("Readiness", "200 while the service behind the gateway is reachable and serving"),
}


class DocumentationPages:
    """The pages of one document, by path; before there is one, its address answers with 503."""

    def __init__(self, document: Json | None, *, has_demo: bool = False) -> None:
        """With `has_demo` there is a demonstration too."""
        self._document = None if document is None else to_text(document).encode()
        self._page = (STATIC / "index.html").read_bytes()
        self.pages: Pages = {
            INDEX_PATH: self.index,
            PAGE_PATH: self.page,
            DOCUMENT_PATH: self.document,
            BUNDLE_PATH: self.bundle,
            **({DEMO_PATH: self.demo} if has_demo else {}),
        }
        self._index = index(document, [path for path in LINKS if path != DEMO_PATH or has_demo])

    async def index(self) -> Response:
        """Return the index."""
        return page(self._index.encode(), INDEX_POLICY)

    async def page(self) -> Response:
        """Return the documentation."""
        return page(self._page, PAGE_POLICY)

    async def demo(self) -> Response:
        """Return the demonstration, which sends events as a player does."""
        return page((STATIC / "demo.html").read_bytes(), DEMO_POLICY)

    async def document(self) -> Response:
        """Return the OpenAPI document."""
        if self._document is None:
            raise OverloadedError(NOT_LEARNED)
        return Response(body=self._document, content_type="application/json")

    async def bundle(self) -> FileResponse:
        """Return Scalar's script."""
        return FileResponse(BUNDLE, headers={"Cache-Control": f"max-age={BUNDLE_SECONDS_MAX}"})


def page(body: bytes, policy: str) -> Response:
    """Return an HTML page whose browser loads nothing beyond a Content-Security-Policy."""
    headers = {"Content-Security-Policy": policy + NOT_EMBEDDED}
    return Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


def index(document: Json | None, paths: list[str]) -> str:
    """Return the index: what the API is, and links to its pages."""
    info = UNKNOWN_API if document is None else document["info"]
    links = [
        f'      <dt><a href="{path}">{html.escape(name)}</a></dt><dd>{html.escape(text)}</dd>'
        for path in paths
        for name, text in [LINKS[path]]
    ]
    fields = {name: html.escape(str(info.get(name, ""))) for name in ("title", "version", "summary")}
    return Template((STATIC / "home.html").read_text(encoding="utf-8")).substitute(fields, links="\n".join(links))


def missing_bundle() -> str | None:
    """Return the message for the operator when the page's script was not fetched, else None."""
    if BUNDLE.is_file():
        return None
    source = json.loads((STATIC / "bundle.json").read_text())
    package = f"{source['name']}@{source['version']}"
    return f"{BUNDLE} is missing: run the set-up, which takes {source['member']} from `npm pack {package}`"
