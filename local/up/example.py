"""What the sample events say of their sender, where ingest wants to know: a token signed with the shared secret."""

from __future__ import annotations

import json
import time

import jwt

from local.settings import UpSettings
from local.up.documented import DOCUMENTED_EVENT

# Long enough to try the printed commands with it.
TOKEN_SECONDS = 3_600


def authorization(settings: UpSettings) -> str | None:
    """Return the value of the header that ingest will accept; None when it asks for none, or we have no secret.

    The token is of the documented event's user, and says whatever else the settings demand.
    """
    if settings.ingest_auth_secret is None:
        return None
    now, rules = int(time.time()), settings.token_rules
    claims = {
        "sub": json.loads(DOCUMENTED_EVENT)["payload"]["user_id"],
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "aud": rules.audience,
        "iss": rules.issuer,
    }
    demanded = {name: value for name, value in claims.items() if value is not None}
    return f"Bearer {jwt.encode(demanded, settings.ingest_auth_secret.get_secret_value(), 'HS256')}"


def lacks_token(settings: UpSettings) -> bool:
    """Whether ingest wants tokens that only an issuer elsewhere can sign: here are its public keys alone."""
    return settings.keys is not None and settings.ingest_auth_secret is None
