"""Keys by URL: how often they are fetched, what an unknown key causes, and what an outage leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from structlog.testing import capture_logs

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules, UnauthenticatedError, UnknownKeyError
from services.ingest.auth.keys import KeySet, read_key_set
from services.ingest.auth.remote_keys import NAMES_MAX, RemoteKeys
from tests.support.inputs.tokens import ec_key, jwks, rsa_key, signed

LONG_SECONDS = 3_600.0


class Issuer:
    """Publishes keys; a problem is raised instead."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.fetches = 0
        self.problem: Exception | None = None

    async def fetch(self) -> KeySet:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.problem is not None:
            raise self.problem
        return read_key_set(jwks(*((name, ec_key(name)) for name in self.names)))


def token(name: str) -> list[str | bytes]:
    return [f"Bearer {signed(ec_key(name), 'ES256', name)}"]


@contextlib.asynccontextmanager
async def opened(issuer: Issuer, seconds: float, seconds_min: float) -> AsyncIterator[tuple[RemoteKeys, Authenticator]]:
    """Keep the keys of an authenticator current, from the first fetch on."""
    authenticator = Authenticator(KeySet(None, {}), TokenRules(), 100)
    remote = RemoteKeys(issuer.fetch, lambda keys: void(authenticator.replace(keys)), seconds, seconds_min)
    authenticator.look_up = remote.look_up
    running = asyncio.create_task(remote.run())
    try:
        await asyncio.wait_for(remote.fetched.wait(), 30)
        yield remote, authenticator
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def void(_result: bool) -> None:
    """Return nothing."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- of several objects
            await asyncio.sleep(0.01)


def verdict(authenticator: Authenticator, name: str) -> str:
    try:
        authenticator.verify(token(name))
    except UnknownKeyError:
        return "temporary"
    except UnauthenticatedError:
        return "invalid"
    return "valid"


async def test_new_key() -> None:
    """The first token with a new key gets a temporary error, and is valid after the fetch that it causes."""
    issuer = Issuer("old")
    async with opened(issuer, LONG_SECONDS, 0.05) as (_, authenticator):
        assert verdict(authenticator, "old") == "valid"
        issuer.names = ["old", "new"]
        assert verdict(authenticator, "new") == "temporary"
        await until(lambda: verdict(authenticator, "new") == "valid")

    assert issuer.fetches == 2


async def test_removed_key() -> None:
    """A token of a key that has been removed is refused after the next fetch, although it was verified before."""
    issuer = Issuer("old", "new")
    async with opened(issuer, 0.05, 0.05) as (_, authenticator):
        assert verdict(authenticator, "old") == "valid"
        issuer.names = ["new"]
        await until(lambda: verdict(authenticator, "old") != "valid")


async def test_unknown_keys_are_bounded() -> None:
    """However many unknown keys tokens name, a second fetch waits for the pause; then they are refused."""
    issuer = Issuer("known", "other")
    async with opened(issuer, LONG_SECONDS, LONG_SECONDS) as (remote, authenticator):
        for number in range(10 * NAMES_MAX):
            assert remote.look_up(f"unknown {number}")
        await asyncio.sleep(0.05)
        assert issuer.fetches == 1
        assert len(remote._wanted) == NAMES_MAX
        assert verdict(authenticator, "known") == "valid"


async def test_absent_key() -> None:
    """A key that a fetch has not found is refused until the pause is over, when it is looked up again."""
    now = 0.0
    issuer = Issuer("known", "other")
    remote = RemoteKeys(issuer.fetch, lambda _keys: None, LONG_SECONDS, 10.0, lambda: now)
    assert remote.look_up("absent")
    await remote._refresh()

    assert not remote.look_up("absent")
    now = 9.9
    assert not remote.look_up("absent")
    now = 10.0
    assert remote.look_up("absent")


async def test_outage() -> None:
    """While the issuer does not answer, the keys stay and it is asked again; one outage is logged."""
    issuer = Issuer("one", "two")
    async with opened(issuer, 0.01, 0.01) as (_, authenticator):
        issuer.problem = TimeoutError("no answer")
        await until(lambda: issuer.fetches > 5)
        assert verdict(authenticator, "one") == "valid"
        issuer.problem, issuer.names = None, ["one", "three"]
        await until(lambda: verdict(authenticator, "three") == "valid")


async def test_unexpected_error() -> None:
    """After an error that nobody expected, which is logged, the keys are fetched again."""
    issuer = Issuer("one", "two")
    async with opened(issuer, 0.01, 0.01) as (_, authenticator):
        with capture_logs() as lines:
            issuer.problem = RuntimeError("a bug")
            await until(lambda: issuer.fetches > 5)
            issuer.problem, issuer.names = None, ["one", "three"]
            await until(lambda: verdict(authenticator, "three") == "valid")

    assert lines[0]["event"] == "fetching the keys of tokens failed unexpectedly"


def test_single_keys() -> None:
    """A single key has its own name only; without a name it is the key of every token."""
    named, unnamed = read_key_set(jwks(("one", rsa_key()))), read_key_set(jwks(("one", rsa_key()), kid=None))

    assert (named.has("one"), named.has("two")) == (True, False)
    assert unnamed.has("two")
