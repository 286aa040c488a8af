"""The documentation page and its document: Scalar's standalone bundle, served from here and calling no other host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp.web import FileResponse, Response

from gateway.openapi.document import to_text
from gateway.pages import Pages

PAGE = Path(__file__).parent / "static"
BUNDLE = PAGE / "scalar.js"
PAGE_PATH = "/api/openapi"
DOCUMENT_PATH = "/api/openapi.json"
DEMO_PATH = "/api/demo"
BUNDLE_PATH = "/api/openapi/scalar.js"
BUNDLE_SECONDS_MAX = 86_400

# No page shows one of these in a frame, sends a form from it, or moves its addresses.
NOT_EMBEDDED = "frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'none'"


class Page:
    """The page, the script it needs and the document it shows."""

    def __init__(self, document: dict[str, Any], *, has_demo: bool = False) -> None:
        """With `has_demo` there is a demonstration too."""
        self._document = to_text(document).encode()
        self._page = (PAGE / "index.html").read_bytes()
        self.pages: Pages = {
            PAGE_PATH: self.page,
            DOCUMENT_PATH: self.document,
            BUNDLE_PATH: self.bundle,
            **({DEMO_PATH: self.demo} if has_demo else {}),
        }

    async def page(self) -> Response:
        """Answer with the page; the browser is told to load nothing from elsewhere."""
        policy = (
            "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
        )
        headers = {"Content-Security-Policy": policy + NOT_EMBEDDED}
        return Response(body=self._page, content_type="text/html", charset="utf-8", headers=headers)

    async def demo(self) -> Response:
        """Answer with the demonstration, which sends events as a player does."""
        headers = {
            "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:; " + NOT_EMBEDDED
        }
        body = (PAGE / "demo.html").read_bytes()
        return Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def document(self) -> Response:
        """Answer with the OpenAPI document."""
        return Response(body=self._document, content_type="application/json")

    async def bundle(self) -> FileResponse:
        """Answer with Scalar's script."""
        return FileResponse(BUNDLE, headers={"Cache-Control": f"max-age={BUNDLE_SECONDS_MAX}"})


def missing_bundle() -> str | None:
    """Return what to tell the operator when the page's script was not fetched, else None."""
    if BUNDLE.is_file():
        return None
    source = json.loads((PAGE / "bundle.json").read_text())
    package = f"{source['name']}@{source['version']}"
    return f"{BUNDLE} is missing: run the set-up, which takes {source['member']} from `npm pack {package}`"
