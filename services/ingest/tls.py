"""TLS of the gRPC server: credentials that present the certificate as its files are now."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from common.metrics import Metrics
from common.tls.files import TlsFiles, TlsMaterial
from common.tls.reloading import Loaded, watched_tls
from common.watched_files import WatchedFiles

Watched = WatchedFiles[Loaded[grpc.ServerCertificateConfiguration]]


def server_tls(files: TlsFiles | None, metrics: Metrics) -> Watched | None:
    """Return the watched files of the server, None without TLS; OSError or ValueError when they cannot be used."""
    return watched_tls(files, "server", metrics, configuration) if files is not None else None


def server_credentials(watched: Watched) -> grpc.ServerCredentials:
    """Return credentials that a server asks at each handshake; it demands a certificate when there are authorities."""
    first = watched.value
    return grpc.dynamic_ssl_server_credentials(
        first.made,
        changes_of(watched, first),  # type: ignore[arg-type]  # the stub lacks None, which the library documents
        require_client_authentication=bool(first.material.authorities),
    )


def changes_of(
    watched: Watched, first: Loaded[grpc.ServerCertificateConfiguration]
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """Return what the library calls, in its threads, at each handshake: None while nothing has changed."""
    given = first

    def change() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        loaded = watched.value
        if loaded is given:
            return None
        given = loaded
        return loaded.made

    return change


def configuration(tls: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    """Return what the library needs of certificates."""
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.authorities or None)
