"""Costs of authentication per request: `python -m tests.benchmarks.tokens` prints microseconds by type of key."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import KeySet, read_public_key, read_secret
from tests.support.benchmarks.report import Figure, Run
from tests.support.benchmarks.tables import show
from tests.support.inputs.tokens import SECRET, ec_key, public_pem, rsa_key, signed

TOKENS = 500
ROUNDS = 5


def main() -> None:
    """Measure, print, and write the report."""
    run = Run("tokens")
    kinds: list[tuple[str, KeySet, Callable[[int], str]]] = [
        ("HS256", read_secret(SECRET), lambda number: signed(jti=str(number))),
        ("RS256", read_public_key(public_pem(rsa_key())), lambda number: signed(rsa_key(), "RS256", jti=str(number))),
        ("ES256", read_public_key(public_pem(ec_key())), lambda number: signed(ec_key(), "ES256", jti=str(number))),
    ]
    found = []
    for name, keys, make in kinds:
        shown = [f"Bearer {make(number)}" for number in range(TOKENS)]
        first, again = zip(*(round_microseconds(keys, shown) for _ in range(ROUNDS)), strict=True)
        found.append(Figure(name, "ingest", "a new token", "us", first))
        found.append(Figure(name, "ingest", "a token that was verified before", "us", again))
    show(run.end(found))


def round_microseconds(keys: KeySet, shown: list[str]) -> tuple[float, float]:
    """Authenticate every token twice with a new authenticator; return the microseconds of the first and second time."""
    checks = Authenticator(keys, TokenRules(subject_is_user=True), cache_tokens_max=TOKENS)
    costs = []
    for _ in range(2):
        began = time.process_time()
        for authorization in shown:
            checks.authenticate([authorization])
        costs.append((time.process_time() - began) / TOKENS * 1e6)
    return costs[0], costs[1]


if __name__ == "__main__":
    main()
