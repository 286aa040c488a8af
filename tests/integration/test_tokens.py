"""Tokens at both endpoints: the real ingest with authentication enabled, and the real gateway in front of it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from ugc.v1.event_pb2 import Event

from db.kafka.topics import provision
from local.processes.program import running
from local.up.example import DOCUMENTED_EVENT
from tests.conftest import LAYOUT
from tests.support.inputs.tokens import (
    OTHER_SECRET,
    SECRET,
    USER,
    confused,
    ec_key,
    jwks,
    public_pem,
    rsa_key,
    signed,
    unsigned,
)
from tests.support.processes.system import CALL_SECONDS_MAX, Deployment, get, ingest_stub, post, serving

OTHER_USER = "7d3a0c52-91de-4c1a-8f0b-2c4b5d6e7f80"
AUDIENCE = "ugc"
HOUR_SECONDS = 3_600


@dataclass
class Authenticated:
    """A system with authentication enabled, and the key that signs its tokens."""

    deployment: Deployment
    key: Any
    wrong_key: Any
    algorithm: str
    kid: str | None = None

    def token(self, **changes: Any) -> str:
        return signed(self.key, self.algorithm, self.kid, **({"aud": AUDIENCE} | changes))

    def forged(self) -> str:
        return signed(self.wrong_key, self.algorithm, self.kid, aud=AUDIENCE)

    def by_grpc(self, authorization: str | None) -> str:
        """Send the documented event to ingest; return the name of the code."""
        metadata = (("authorization", authorization),) if authorization is not None else ()
        with ingest_stub(self.deployment.ingest_address) as stub:
            try:
                stub.Produce(json_format.Parse(DOCUMENTED_EVENT, Event()), metadata=metadata, timeout=CALL_SECONDS_MAX)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    def by_rest(self, authorization: str | None) -> tuple[int, int]:
        """Send it to the gateway; return the HTTP status, and the code in the body."""
        headers = {"Authorization": authorization} if authorization is not None else {}
        status, answer = post(f"{self.deployment.gateway_url}/api/v1/produce", DOCUMENTED_EVENT.encode(), headers)
        return status, answer.get("code", 0)


@pytest.fixture(scope="module", params=["secret", "key file", "jwks"])
def authenticated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kafka: str
) -> Iterator[Authenticated]:
    """Run ingest and the gateway with each kind of key."""
    topic, folder = f"test-{uuid.uuid4().hex}", tmp_path_factory.mktemp("tokens")
    assert provision(kafka, topic, LAYOUT)
    deployment = Deployment(folder, kafka, topic, database="clickhouse://default@127.0.0.1:9/none")
    (folder / "key.pem").write_text(public_pem(rsa_key()))
    (folder / "jwks.json").write_text(jwks(("r", rsa_key()), ("e", ec_key())))
    setting, system = {
        "secret": (("SECRET", SECRET), Authenticated(deployment, SECRET, OTHER_SECRET, "HS256")),
        "key file": (
            ("KEY_FILE", str(folder / "key.pem")),
            Authenticated(deployment, rsa_key(), rsa_key("x"), "RS256"),
        ),
        "jwks": (
            ("JWKS_FILE", str(folder / "jwks.json")),
            Authenticated(deployment, ec_key(), ec_key("x"), "ES256", "e"),
        ),
    }[request.param]
    deployment.settings |= {
        f"UGC_INGEST_AUTH_{setting[0]}": setting[1],
        "UGC_INGEST_AUTH_AUDIENCE": AUDIENCE,
        "UGC_INGEST_AUTH_SUBJECT_IS_USER": "true",
    }
    with running(deployment.ingest()), running(deployment.gateway()):
        yield system


def test_valid(authenticated: Authenticated) -> None:
    """A valid token is accepted by both endpoints, repeatedly."""
    for _ in range(2):
        assert authenticated.by_grpc(f"Bearer {authenticated.token()}") == "OK"
        assert authenticated.by_rest(f"bearer {authenticated.token()}") == (201, 0)


def test_unauthenticated(authenticated: Authenticated) -> None:
    """Every invalid token is UNAUTHENTICATED and 401 at both endpoints."""
    now = int(time.time())
    bad = {
        "missing": None,
        "another scheme": "Basic dXNlcjpwYXNz",
        "malformed": "Bearer not.a.token",
        "expired": f"Bearer {authenticated.token(exp=now - HOUR_SECONDS)}",
        "not valid yet": f"Bearer {authenticated.token(nbf=now + HOUR_SECONDS)}",
        "without an end": f"Bearer {authenticated.token(exp=None)}",
        "wrong key": f"Bearer {authenticated.forged()}",
        "wrong audience": f"Bearer {authenticated.token(aud='other')}",
        "without an audience": f"Bearer {authenticated.token(aud=None)}",
        "alg none": f"Bearer {unsigned(aud=AUDIENCE)}",
        "signed with the public key as a secret": f"Bearer {confused(public_pem(rsa_key()), aud=AUDIENCE)}",
        "signed with the public key of the curve": f"Bearer {confused(public_pem(ec_key()), aud=AUDIENCE)}",
    }

    assert {name: authenticated.by_grpc(value) for name, value in bad.items()} == dict.fromkeys(bad, "UNAUTHENTICATED")
    assert {name: authenticated.by_rest(value) for name, value in bad.items()} == dict.fromkeys(bad, (401, 16))


def test_permission_denied(authenticated: Authenticated) -> None:
    """A valid token of another user is PERMISSION_DENIED and 403 at both endpoints."""
    theirs = f"Bearer {authenticated.token(sub=OTHER_USER)}"

    assert authenticated.by_grpc(theirs) == "PERMISSION_DENIED"
    assert authenticated.by_rest(theirs) == (403, 7)


def test_partly_denied_batch(authenticated: Authenticated) -> None:
    """Each event of a batch has its own result, through the gateway too: 207, or 403 if all are another user's."""
    mine = json_format.MessageToDict(json_format.Parse(DOCUMENTED_EVENT, Event()))
    theirs = mine | {"payload": mine["payload"] | {"user_id": OTHER_USER}}
    headers, url = {"Authorization": f"Bearer {authenticated.token(sub=USER)}"}, authenticated.deployment.gateway_url
    status, answer = post(f"{url}/api/v1/batch_produce", json_body([mine, theirs, mine]), headers)

    assert (status, answer["accepted"]) == (207, 2)
    assert [(each["index"], each["error"]["code"]) for each in answer["rejected"]] == [(1, 7)]
    status, answer = post(f"{url}/api/v1/batch_produce", json_body([theirs, theirs]), headers)
    assert (status, answer["code"]) == (403, 7)


def json_body(events: list[dict[str, Any]]) -> bytes:
    """Return a batch in its REST form."""
    return json.dumps(events).encode()


def test_health_and_reflection_are_open(authenticated: Authenticated) -> None:
    """Probes need no token; and neither token nor secret is in a log."""
    assert serving(authenticated.deployment.ingest_address)
    assert get(f"{authenticated.deployment.gateway_url}/readyz")[0] == 200
    logs = authenticated.deployment.log("ingest") + authenticated.deployment.log("gateway")
    assert "authentication" in logs
    assert SECRET not in logs
    assert authenticated.token().partition(".")[0] not in logs
