"""Settings that name the files of TLS, checked together: a half-set pair or an unusable file is a bad setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo

from common.settings import Documented, NeverEmpty, variable_of
from common.tls.files import TlsFiles

# A pair is checked also when only the other half is set.
TlsFile = Annotated[Path | None, NeverEmpty(), Documented("path"), Field(validate_default=True)]
CERTIFICATE, KEY, AUTHORITIES = "cert_file", "key_file", "ca_file"


def check_server_file(path: Path | None, info: ValidationInfo) -> Path | None:
    """Check a setting of a server: `.._cert_file`, `.._key_file` and `.._client_ca_file`, declared in this order."""
    return checked(path, info, needs={AUTHORITIES: CERTIFICATE})


def check_client_file(path: Path | None, info: ValidationInfo) -> Path | None:
    """Check a setting of a client: `.._ca_file`, `.._cert_file` and `.._key_file`, declared in this order."""
    return checked(path, info, needs={CERTIFICATE: AUTHORITIES})


def checked(path: Path | None, info: ValidationInfo, needs: dict[str, str]) -> Path | None:
    """Return a path that can be used with those before it; ValueError with the reason otherwise."""
    name = str(info.field_name)
    prefix = f"{name.rpartition('tls_')[0]}tls_"
    kind = next(each for each in (CERTIFICATE, KEY, AUTHORITIES) if name.endswith(each))
    if kind == KEY:
        certificate = info.data.get(prefix + CERTIFICATE)
        if path is None and certificate is not None:
            raise ValueError(f"must be set, because {variable_of(prefix + CERTIFICATE)} is")
        if path is not None:
            require(info, prefix + CERTIFICATE)
            TlsFiles(certificate, path, None).read()
    elif path is not None:
        if kind in needs:
            require(info, prefix + needs[kind])
        if kind == AUTHORITIES:
            TlsFiles(None, None, path).read()
    return path


def require(info: ValidationInfo, name: str) -> None:
    """Raise ValueError when a setting that was read before is not set; one that is not valid has its own error."""
    if name in info.data and info.data[name] is None:
        raise ValueError(f"needs {variable_of(name)}")
