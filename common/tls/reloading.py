"""The files of TLS as they are now: watched, with the end of the certificate's validity as a metric."""

from __future__ import annotations

from datetime import UTC, datetime

from common.logs import logger
from common.metrics import Metrics
from common.outage_log import OutageLog
from common.tls.files import TlsFiles, TlsMaterial
from common.watched_files import WatchedFiles


def watched_tls(files: TlsFiles, role: str, metrics: Metrics) -> WatchedFiles[TlsMaterial]:
    """Return the watched files of a `server` or `client`; OSError or ValueError when they cannot be used."""
    watched = WatchedFiles(files.paths, files.read, OutageLog("reloading TLS files"), lambda tls: note(tls, role))
    if files.certificate is not None:
        metrics.read_certificate(role, lambda: watched.value.expires_at)
    return watched


def note(tls: TlsMaterial, role: str) -> None:
    """Log that new connections use other files."""
    expires = datetime.fromtimestamp(tls.expires_at, UTC).isoformat() if tls.certificate else "no certificate"
    logger().info("TLS files were reloaded", role=role, expires=expires)
