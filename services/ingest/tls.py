"""TLS of the gRPC server: credentials that present the certificate as its files are now."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from common.tls.files import TlsMaterial
from common.watched_files import WatchedFiles


def server_credentials(watched: WatchedFiles[TlsMaterial]) -> grpc.ServerCredentials:
    """Return credentials that a server asks at each handshake; it demands a certificate when there are authorities."""
    first = watched.value
    return grpc.dynamic_ssl_server_credentials(
        configuration(first),
        changes_of(watched, first),  # type: ignore[arg-type]  # the stub lacks None, which the library documents
        require_client_authentication=bool(first.authorities),
    )


def changes_of(
    watched: WatchedFiles[TlsMaterial], first: TlsMaterial
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """Return what the library calls, in its threads, at each handshake: None while nothing has changed."""
    given = first

    def change() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        tls = watched.value
        if tls is given:
            return None
        given = tls
        return configuration(tls)

    return change


def configuration(tls: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    """Return what the library needs of certificates."""
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.authorities or None)
