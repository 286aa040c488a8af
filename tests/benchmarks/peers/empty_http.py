"""The least that aiohttp costs: `python empty_http.py PORT` reads each request's body and answers 201, on uvloop."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

BODY_BYTES_MAX = 64 * 1024 * 1024


async def answer(request: web.Request) -> web.Response:
    """Read the body and answer nothing."""
    await request.read()
    return web.Response(status=201, body=b"{}", content_type="application/json")


if __name__ == "__main__":
    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_post("/{path:.*}", answer)
    loop = uvloop.new_event_loop()
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)
