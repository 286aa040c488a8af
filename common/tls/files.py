"""Reads certificates, private keys and authorities, and checks that they can be used together now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# A bundle of the authorities of an operating system has 0.2 MB.
FILE_BYTES_MAX = 1_048_576


@dataclass(frozen=True, repr=False)
class TlsMaterial:
    """PEM texts, each empty when its file is not set, and the end of the certificate's validity in Unix seconds.

    It has no repr, because it holds a private key.
    """

    certificate: bytes = b""
    key: bytes = b""
    authorities: bytes = b""
    expires_at: float = 0.0


@dataclass(frozen=True)
class TlsFiles:
    """The files of one side of TLS connections: a certificate with its key, the authorities of the other side, or both.

    The certificate's file begins with the certificate, and intermediate ones follow.
    """

    certificate: Path | None
    key: Path | None
    authorities: Path | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are set."""
        return tuple(path for path in (self.certificate, self.key, self.authorities) if path is not None)

    def read(self) -> TlsMaterial:
        """Return what the files contain; ValueError with the reason when it cannot be used now."""
        authorities = read_authorities(self.authorities) if self.authorities else b""
        if self.certificate is None or self.key is None:
            return TlsMaterial(authorities=authorities)
        certificate = read_certificate(self.certificate)
        key = read_key(self.key, certificate)
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        now = time.time()
        if leaf.not_valid_after_utc.timestamp() <= now:
            raise ValueError(
                f"{self.certificate}: the certificate expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%MZ}"
            )
        if leaf.not_valid_before_utc.timestamp() > now:
            begin = f"{leaf.not_valid_before_utc:%Y-%m-%dT%H:%MZ}"
            raise ValueError(f"{self.certificate}: the certificate is not valid before {begin}")
        return TlsMaterial(certificate, key, authorities, leaf.not_valid_after_utc.timestamp())


def read_certificate(path: Path) -> bytes:
    """Return the PEM text of a certificate with its chain; ValueError with the reason if it is not one."""
    text = read_bytes(path)
    try:
        x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise ValueError(f"{path}: must hold a certificate as PEM (-----BEGIN CERTIFICATE-----)") from error
    return text


def read_authorities(path: Path) -> bytes:
    """Return the PEM text of the certificates of authorities; ValueError with the reason if there is none."""
    return read_certificate(path)


def read_key(path: Path, certificate: bytes) -> bytes:
    """Return the PEM text of the private key of a certificate; ValueError with the reason if it is not that."""
    text = read_bytes(path)
    try:
        key = load_pem_private_key(text, None)
    except TypeError as error:
        raise ValueError(f"{path}: the private key is encrypted, and must not be") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path}: must hold a private key as PEM (-----BEGIN PRIVATE KEY-----)") from error
    if x509.load_pem_x509_certificates(certificate)[0].public_key() != key.public_key():
        raise ValueError(f"{path}: is not the private key of the certificate")
    return text


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; ValueError with the reason if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with NUL
        raise ValueError("is not a valid path") from error
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path}: has more than {FILE_BYTES_MAX} bytes")
    return content
