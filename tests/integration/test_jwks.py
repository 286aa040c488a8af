"""Keys of tokens that change while ingest runs: of a file, and by URL from an issuer's server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from common import watched_files
from services.ingest.auth import fetching
from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import UnauthenticatedError
from services.ingest.auth.fetching import fetch_keys
from services.ingest.auth.opening import authenticating
from services.ingest.auth.settings import AuthenticationSettings
from tests.support.certificates import Certificates
from tests.support.inputs.tokens import ec_key, jwks, signed

Answer = Callable[[web.Request], web.StreamResponse]


@contextlib.asynccontextmanager
async def issuer(answer: Answer, certificates: Certificates) -> AsyncIterator[str]:
    """Serve keys by TLS; yield their URL."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        return answer(request)  # type: ignore[arg-type]  # a base request is enough

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server.certificate, certificates.server.key)
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://localhost:{runner.addresses[0][1]}/jwks.json"
    finally:
        await runner.cleanup()


def always(answer: web.Response) -> Answer:
    return lambda _request: answer


def is_valid(authenticator: Authenticator, name: str) -> bool:
    try:
        authenticator.verify([f"Bearer {signed(ec_key(name), 'ES256', name)}"])
    except UnauthenticatedError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- of several objects
            await asyncio.sleep(0.02)


async def test_by_url(certificates: Certificates) -> None:
    """Keys are fetched before the first token, and again; an outage keeps them."""
    published, asked = ["one", "two"], 0

    def answer(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if not published:
            return web.Response(status=503)
        return web.Response(text=jwks(*((name, ec_key(name)) for name in published)))

    async with issuer(answer, certificates) as url:
        settings = AuthenticationSettings(
            ingest_auth_jwks_url=url,
            ingest_auth_jwks_ca_file=certificates.authority.file,
            ingest_auth_jwks_seconds=1,
            ingest_auth_jwks_seconds_min=0.1,
        )
        async with authenticating(settings, asyncio.Event()) as authenticator:
            assert authenticator is not None
            assert is_valid(authenticator, "one")
            published[:] = []
            before = asked
            await until(lambda: asked > before + 2)
            assert is_valid(authenticator, "one")
            published[:] = ["two", "three"]
            await until(lambda: is_valid(authenticator, "three"))
            assert not is_valid(authenticator, "one")


async def test_stop_before_the_first_keys() -> None:
    """A stop ends the wait for an issuer that does not answer."""
    stop = asyncio.Event()
    settings = AuthenticationSettings(ingest_auth_jwks_url="http://localhost:9/jwks.json")
    asyncio.get_running_loop().call_later(0.1, stop.set)

    async with asyncio.timeout(60), authenticating(settings, stop) as authenticator:
        assert authenticator is not None
        assert not is_valid(authenticator, "one")


async def test_refused_answers(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are too large, too slow, redirected, failed or no keys are refused, each with its reason."""
    large = b"a" * (fetching.BYTES_MAX + 1)
    answers: dict[str, web.Response] = {
        "the keys have more than": web.Response(body=large),
        "the issuer answered with the status 302": web.Response(status=302, headers={"Location": "/other"}),
        "the issuer answered with the status 500": web.Response(status=500),
        "must hold a JWKS": web.Response(body=b"<html>"),
        "can't decode": web.Response(body=b"\xff"),
    }
    for reason, answer in answers.items():
        async with issuer(always(answer), certificates) as url:
            with pytest.raises((OSError, ValueError), match=reason):
                await fetch_keys(url, certificates.authority.file)

    async with issuer(lambda _request: web.Response(), certificates) as url:
        with pytest.raises((OSError, ValueError), match="certificate verify failed"):
            await fetch_keys(url, certificates.other_authority.file)
    monkeypatch.setattr(fetching, "FETCH_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
            await fetch_keys(f"http://127.0.0.1:{port}/", None)


async def test_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of keys is read again when it changes; a half-written one keeps the keys."""
    monkeypatch.setattr(watched_files, "RELOAD_SECONDS", 0.02)
    file = tmp_path / "jwks.json"
    file.write_text(jwks(("one", ec_key("one")), ("two", ec_key("two"))))
    settings = AuthenticationSettings(ingest_auth_jwks_file=str(file))
    async with authenticating(settings, asyncio.Event()) as authenticator:
        assert authenticator is not None
        assert is_valid(authenticator, "one")
        file.write_text(file.read_text()[:100])
        await asyncio.sleep(0.1)
        assert is_valid(authenticator, "one")
        file.write_text(jwks(("two", ec_key("two")), ("three", ec_key("three"))))
        await until(lambda: is_valid(authenticator, "three"))
        assert not is_valid(authenticator, "one")
