"""Costs of authentication per request: `python -m tests.benchmarks.tokens` prints microseconds by type of key."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.ingest.auth.authentication import Authenticator
from services.ingest.auth.claims import TokenRules
from services.ingest.auth.keys import KeySet, read_public_key, read_secret
from tests.support.inputs.tokens import SECRET, ec_key, public_pem, rsa_key, signed

TOKENS = 500
ROUNDS = 5


def main() -> None:
    """Print the table."""
    kinds: list[tuple[str, KeySet, Callable[[int], str]]] = [
        ("HS256", read_secret(SECRET), lambda number: signed(jti=str(number))),
        ("RS256", read_public_key(public_pem(rsa_key())), lambda number: signed(rsa_key(), "RS256", jti=str(number))),
        ("ES256", read_public_key(public_pem(ec_key())), lambda number: signed(ec_key(), "ES256", jti=str(number))),
    ]
    print(f"{'algorithm':<12}{'first use':>12}{'remembered':>12}  (us a request; best of {ROUNDS} rounds)")
    for name, keys, make in kinds:
        shown = [f"Bearer {make(number)}" for number in range(TOKENS)]
        first, again = zip(*(round_microseconds(keys, shown) for _ in range(ROUNDS)), strict=True)
        print(f"{name:<12}{min(first):>12.2f}{min(again):>12.2f}")


def round_microseconds(keys: KeySet, shown: list[str]) -> tuple[float, float]:
    """Authenticate every token twice with a new authenticator; return the microseconds of the first and second time."""
    checks = Authenticator(keys, TokenRules(subject_is_user=True), cache_tokens_max=TOKENS)
    costs = []
    for _ in range(2):
        began = time.perf_counter()
        for authorization in shown:
            checks.authenticate([authorization])
        costs.append((time.perf_counter() - began) / TOKENS * 1e6)
    return costs[0], costs[1]


if __name__ == "__main__":
    main()
