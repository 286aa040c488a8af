"""TLS of the HTTP server: a context for handshakes, made anew when its files change."""

from __future__ import annotations

import ssl

from common.metrics import Metrics
from common.tls.files import TlsFiles, TlsMaterial
from common.tls.reloading import Loaded, watched_tls
from common.watched_files import WatchedFiles


def server_tls(files: TlsFiles | None, metrics: Metrics) -> WatchedFiles[Loaded[ssl.SSLContext]] | None:
    """Return the watched files of the server, None without TLS; OSError or ValueError when they cannot be used."""
    if files is None:
        return None
    return watched_tls(files, "server", metrics, lambda tls: server_context(files, tls))


def server_context(files: TlsFiles, tls: TlsMaterial) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and 1.3; it demands a certificate of clients when there are authorities.

    It is a new one for each change: sessions of a former one cannot be resumed, and so no client is accepted by an
    authority that was removed from the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    # With a password the library would ask for none on a terminal; a key that needs one was refused before.
    context.load_cert_chain(files.certificate or "", files.key, password="")
    if tls.authorities:
        context.load_verify_locations(cadata=tls.authorities.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context
