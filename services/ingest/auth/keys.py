"""Keys that verify the signatures of tokens. The type of a key determines its algorithm, whatever a token names.

A secret: HS256. A public key or a JWKS (RFC 7517): RS256 for RSA, ES256 for the curve P-256.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SECRET_BYTES_MIN = 32
RSA_BITS_MIN = 2_048
# Members that only a private or symmetric key has (RFC 7518, 6; RFC 8037).
PRIVATE_MEMBERS = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"})
READERS: dict[str, Callable[[dict[str, object]], object]] = {
    "RSA": jwt.algorithms.RSAAlgorithm.from_jwk,
    "EC": jwt.algorithms.ECAlgorithm.from_jwk,
}
# Other PEM contents, by the text that identifies them.
OTHER_PEM = {
    "PRIVATE KEY-----": "a private key: that stays with the issuer",
    "BEGIN CERTIFICATE": "a certificate: `openssl x509 -pubkey -noout` writes its key",
}
# Skipped keys that an error lists with their reasons.
REASONS_MAX = 5


class UnusableKeyError(ValueError):
    """A key cannot verify tokens here; the text is the reason."""


@dataclass(frozen=True, repr=False)
class Key:
    """A key and its algorithm; it has no repr, as it may be a secret."""

    algorithm: str
    material: RSAPublicKey | EllipticCurvePublicKey | bytes


@dataclass(frozen=True, repr=False)
class KeySet:
    """The keys in use: one for every token, or several, identified by `kid` and algorithm.

    `skipped` are the keys of a JWKS that are not used, by name, with the reason.
    """

    single: Key | None
    by_id: Mapping[tuple[str, str], Key]
    skipped: Sequence[tuple[str, str]] = ()

    def has(self, name: str) -> bool:
        """Whether a key has this name; a single key without a name has every name."""
        return any(name == kid for kid, _ in self.by_id) or (self.single is not None and not self.by_id)

    def find(self, name: object, algorithm: object) -> Key | None:
        """Return the key that a token's header names, or the single key; None if there is no such key."""
        if self.single is not None and name not in [skipped for skipped, _reason in self.skipped]:
            return self.single
        if not isinstance(name, str) or not isinstance(algorithm, str):
            return None
        # A key of another algorithm is returned too, so that the error can name the mismatch.
        return self.by_id.get((name, algorithm)) or next(
            (key for (kid, _), key in self.by_id.items() if kid == name), None
        )


def read_secret(secret: str) -> KeySet:
    """Return the key of a shared secret; raise ValueError if it is too short for HS256 (RFC 7518, 3.2)."""
    if len(secret.encode()) < SECRET_BYTES_MIN:
        raise ValueError(f"must have at least {SECRET_BYTES_MIN} bytes")
    return KeySet(Key("HS256", secret.encode()), {})


def read_public_key(text: str) -> KeySet:
    """Return the key of a PEM text; raise ValueError with the reason if it is not a usable public key."""
    for mark, content in OTHER_PEM.items():
        if mark in text:
            raise ValueError(f"must hold a public key as PEM, not {content}")
    try:
        material = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("must hold a public key as PEM (-----BEGIN PUBLIC KEY-----)") from error
    return KeySet(key_of(material), {})


def read_key_set(text: str) -> KeySet:
    """Return the usable keys of a JWKS; raise ValueError if there is none, or if one is private.

    Issuers publish keys of many types, so unusable ones are skipped. A private key or a secret in a file of public keys
    is an error, because it has been disclosed and must be replaced.
    """
    usable: dict[tuple[str, str], Key] = {}
    unnamed: list[Key] = []
    skipped: list[tuple[str, str]] = []
    for position, entry in enumerate(entries(text)):
        name = name_of(entry, position)
        try:
            key = read_entry(entry)
        except UnusableKeyError as error:
            skipped.append((name, str(error)))
            continue
        kid = kid_of(entry)
        if kid is None:
            unnamed.append(key)
        elif (kid, key.algorithm) in usable:
            skipped.append((name, "another key of its kind before it has the same kid"))
        else:
            usable[kid, key.algorithm] = key
    if not usable and len(unnamed) == 1:
        return KeySet(unnamed[0], {}, skipped)
    skipped += [("(no kid)", "without a kid no token can name it among others")] * len(unnamed)
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:REASONS_MAX])
        raise ValueError(
            f"must hold an RSA or P-256 key for signatures{' (' * bool(reasons)}{reasons}{')' * bool(reasons)}"
        )
    single = next(iter(usable.values())) if len(usable) == 1 else None
    return KeySet(single, usable, skipped)


def entries(text: str) -> list[object]:
    """Return the entries of a JWKS."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError('must hold a JWKS, JSON such as {"keys": [...]}') from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError('must hold a JWKS, JSON such as {"keys": [...]}')  # noqa: TRY004 -- for pydantic
    return keys


def name_of(entry: object, position: int) -> str:
    """Return the name of a key in a message: its `kid` or its position."""
    kid = kid_of(entry)
    return f"keys[{position}]" if kid is None else kid


def kid_of(entry: object) -> str | None:
    """Return the `kid` of an entry, None without one."""
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return kid if isinstance(kid, str) else None


def read_entry(entry: object) -> Key:
    """Return a key of a JWKS; raise UnusableKeyError to skip it, ValueError if it is private."""
    if not isinstance(entry, dict):
        raise UnusableKeyError("it is not a JSON object")
    if PRIVATE_MEMBERS & entry.keys():
        raise ValueError("must hold public keys only, but there is a private key or a secret in it")
    if entry.get("use") not in (None, "sig"):
        raise UnusableKeyError("its use is not sig")
    operations = entry.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise UnusableKeyError("its key_ops do not have verify")
    read = READERS.get(str(entry.get("kty")))
    if read is None:
        raise UnusableKeyError("its kty is not RSA or EC")
    try:
        key = key_of(read(entry))
    except UnusableKeyError:
        raise
    # Exceptions that the libraries raise for malformed numbers.
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UnusableKeyError("it is malformed") from error
    if entry.get("alg") not in (None, key.algorithm):
        raise UnusableKeyError(f"its alg is not {key.algorithm}")
    return key


def key_of(material: object) -> Key:
    """Return a public key with its algorithm; raise UnusableKeyError if its type is not supported."""
    if isinstance(material, RSAPublicKey):
        if material.key_size < RSA_BITS_MIN:
            raise UnusableKeyError(f"an RSA key must have at least {RSA_BITS_MIN} bits, not {material.key_size}")
        return Key("RS256", material)
    if isinstance(material, EllipticCurvePublicKey) and isinstance(material.curve, SECP256R1):
        return Key("ES256", material)
    raise UnusableKeyError("only RSA keys and keys of the curve P-256 are used")


def read_file(path: str) -> str:
    """Return a file's text; raise ValueError if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with NUL, or bytes that are not UTF-8
        raise ValueError("cannot be read as text") from error
