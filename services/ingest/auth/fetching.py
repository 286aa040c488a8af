"""Fetches the issuer's keys by URL, within limits of bytes and time."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp

from services.ingest.auth.keys import KeySet, read_key_set

FETCH_SECONDS_MAX = 5.0
# Issuers publish a few keys of less than 3 kB each, with their certificates.
BYTES_MAX = 262_144
OK = 200


async def fetch_keys(url: str, authorities: Path | None) -> KeySet:
    """Return the keys at a URL; OSError or ValueError with the reason when there are none.

    The server is verified by the authorities of the system, or by those of a file.
    """
    # In threads: reading the authorities of the system takes tens of milliseconds.
    context = await asyncio.to_thread(ssl.create_default_context, cafile=authorities)
    try:
        text = await fetched(url, context)
    except TimeoutError as error:
        raise TimeoutError(f"the issuer did not answer within {FETCH_SECONDS_MAX:g} s") from error
    except aiohttp.ClientError as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return await asyncio.to_thread(read_key_set, text)


async def fetched(url: str, context: ssl.SSLContext) -> str:
    """Return the text at a URL. Redirects are not followed: the setting names the place."""
    # A compressed response could expand to any size.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS_MAX)
    async with (
        # Issuers are often outside, behind the proxy of the environment.
        aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False, trust_env=True) as session,
        session.get(url, ssl=context, allow_redirects=False) as response,
    ):
        if response.status != OK:
            raise ValueError(f"the issuer answered with the status {response.status}")
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > BYTES_MAX:
                raise ValueError(f"the keys have more than {BYTES_MAX} bytes")
    return body.decode()
