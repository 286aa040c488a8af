"""Certificates for tests, as PEM files: of an authority, of another one, and some that are not valid today."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

# The names and addresses of this machine, which the certificates of servers are valid for.
HERE = ("localhost", "127.0.0.1", "::1")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its private key (PKCS#8)."""

    certificate: Path
    key: Path

    @property
    def keystore(self) -> Path:
        """The file that has the key and the certificate, as a keystore of Kafka with `ssl.keystore.type=PEM`."""
        return self.certificate.with_suffix(".keystore.pem")

    def replace_with(self, other: Pair) -> None:
        """Put the certificate and the key of another pair in the place of these, each file by a rename."""
        for mine, its in (
            (self.certificate, other.certificate),
            (self.key, other.key),
            (self.keystore, other.keystore),
        ):
            replace(mine, its.read_bytes())


class Authority:
    """A certificate authority; `file` is its certificate, which those need who verify certificates of it."""

    def __init__(self, folder: Path) -> None:
        """Make an authority whose files, and those of what it issues, are in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._authority.cert_pem.bytes())

    def issue(
        self,
        name: str,
        hosts: Iterable[str] = HERE,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Pair:
        """Issue a certificate for servers and clients; the name is its common name (CN) and that of its files."""
        issued = self._authority.issue_cert(*hosts, common_name=name, not_before=not_before, not_after=not_after)
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        # Kafka reads private keys of PKCS#8 alone.
        key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(chain)
        pair.key.write_bytes(key)
        pair.keystore.write_bytes(key + chain)
        return pair


class Certificates:
    """What tests of TLS need, made when it is first used."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in a folder."""
        self.folder = folder
        self.authority = Authority(folder / "authority")

    @cached_property
    def other_authority(self) -> Authority:
        """An authority that neither side trusts."""
        return Authority(self.folder / "other")

    @cached_property
    def server(self) -> Pair:
        """The certificate of a server on this machine."""
        return self.authority.issue("server")

    @cached_property
    def client(self) -> Pair:
        """The certificate of a client."""
        return self.authority.issue("client")

    @cached_property
    def server_of_other(self) -> Pair:
        """The certificate of a server on this machine, by the other authority."""
        return self.other_authority.issue("server")

    @cached_property
    def client_of_other(self) -> Pair:
        """The certificate of a client, by the other authority."""
        return self.other_authority.issue("client")

    @cached_property
    def expired(self) -> Pair:
        """A certificate that was valid until yesterday."""
        now = datetime.now(UTC)
        return self.authority.issue("expired", not_before=now - 3 * DAY, not_after=now - DAY)

    @cached_property
    def not_yet_valid(self) -> Pair:
        """A certificate that is valid from tomorrow on."""
        now = datetime.now(UTC)
        return self.authority.issue("not-yet-valid", not_before=now + DAY, not_after=now + 3 * DAY)

    def bundle(self, *authorities: Authority) -> Path:
        """Write the certificates of several authorities to one file, as in a change of the authority."""
        file = self.folder / "bundle.pem"
        replace(file, b"".join(each.file.read_bytes() for each in authorities))
        return file


def replace(file: Path, content: bytes) -> None:
    """Write a file whole beside another one, and rename it into the place of that."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(content)
    new.replace(file)
