"""The event that is documented to clients, and the token of its sender, for the events that `ugc-up` sends."""

from __future__ import annotations

import json
import time

import jwt

from local.settings import UpSettings

# Byte for byte as it is documented; its lines are longer than those of the code.
DOCUMENTED_EVENT = """\
{"payload": {"movie_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2", "user_id": "1ec4cd73-2fd5-4f25-af68-b6595d279af2",
             "event": "some_event", "event_data": "some_event_data", "event_timestamp": 1621932759},
 "language": "RU", "timezone": "Europe/Moscow", "ip": "192.168.1.1", "version": "1.0", "some_client_data": "some_client_data"}"""  # noqa: E501 -- see above
# Long enough to try the printed commands.
TOKEN_SECONDS = 3_600


def authorization(settings: UpSettings) -> str | None:
    """Return the Authorization header of the documented event; None when ingest needs none, or no secret is set.

    The token is of the event's user, and has every claim that the settings require.
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
    required = {name: value for name, value in claims.items() if value is not None}
    return f"Bearer {jwt.encode(required, settings.ingest_auth_secret.get_secret_value(), 'HS256')}"


def lacks_token(settings: UpSettings) -> bool:
    """Whether ingest requires tokens that only their issuer can sign, because it has no more than public keys."""
    return settings.is_authenticated and settings.ingest_auth_secret is None
