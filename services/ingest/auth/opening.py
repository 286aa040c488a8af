"""Opens the authenticator of the settings, and keeps its keys current while it is used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

from common.logs import logger
from common.outage_log import OutageLog
from common.watched_files import WatchedFiles, reloading
from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.keys import KeySet, read_file
from services.ingest.auth.remote_keys import RemoteKeys
from services.ingest.auth.settings import AuthenticationSettings, FileOfKeys

NO_KEYS = KeySet(None, {})


@contextlib.asynccontextmanager
async def authenticating(settings: AuthenticationSettings, stop: asyncio.Event) -> AsyncIterator[Authenticator | None]:
    """Yield the authenticator, None when authentication is disabled; its keys are reloaded in the block.

    Keys by URL are fetched first, for as long as that takes: without keys every valid token would be refused. A stop
    ends the wait.
    """
    rules, cache_tokens_max = settings.token_rules, settings.ingest_auth_cache_tokens_max
    if settings.ingest_auth_jwks_url is None:
        if settings.keys is None:
            yield None
            return
        note_skipped(settings.keys)
        authenticator = Authenticator(settings.keys, rules, cache_tokens_max)
        async with reloading(watched_keys(settings.file_of_keys, authenticator)):
            yield authenticator
        return
    # The HTTP client is a large library, which is only needed here.
    from services.ingest.auth.fetching import fetch_keys

    authenticator = Authenticator(NO_KEYS, rules, cache_tokens_max)
    remote = RemoteKeys(
        partial(fetch_keys, settings.ingest_auth_jwks_url, settings.ingest_auth_jwks_ca_file),
        partial(replace_keys, authenticator),
        settings.ingest_auth_jwks_seconds,
        settings.ingest_auth_jwks_seconds_min,
    )
    authenticator.look_up = remote.look_up
    running = asyncio.create_task(remote.run())
    waits = {asyncio.create_task(remote.fetched.wait()), asyncio.create_task(stop.wait()), running}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        yield authenticator
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def watched_keys(file: FileOfKeys | None, authenticator: Authenticator) -> WatchedFiles[KeySet] | None:
    """Return the watched file of the keys, None when there is none."""
    if file is None:
        return None
    return WatchedFiles(
        [file.path],
        lambda: file.read(read_file(str(file.path))),
        OutageLog("reloading the keys of tokens"),
        partial(replace_keys, authenticator),
    )


def replace_keys(authenticator: Authenticator, keys: KeySet) -> None:
    """Verify tokens by other keys from now on."""
    if authenticator.replace(keys):
        logger().info("the keys of tokens have changed", keys=len(keys.by_id) or 1)
        note_skipped(keys)


def note_skipped(keys: KeySet) -> None:
    """Log the keys that are not used."""
    for name, reason in keys.skipped:
        logger().warning("a key of the JWKS is not used", kid=name, reason=reason)
