"""The files of TLS as they are now: watched, with the end of the certificate's validity as a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from common.logs import logger
from common.metrics import Metrics
from common.outage_log import OutageLog
from common.tls.files import TlsFiles, TlsMaterial
from common.watched_files import WatchedFiles

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What files of TLS contain, and what a library has made of it."""

    material: TlsMaterial
    made: T = field(compare=False)


def watched_tls(
    files: TlsFiles,
    role: str,
    metrics: Metrics,
    make: Callable[[TlsMaterial], T],
    then: Callable[[], None] = lambda: None,
) -> WatchedFiles[Loaded[T]]:
    """Return the watched files of a `server` or `client`; OSError or ValueError when they cannot be used.

    `then` is called, in the event loop, after they have changed.
    """

    def read() -> Loaded[T]:
        material = files.read()
        return Loaded(material, make(material))

    def changed(loaded: Loaded[T]) -> None:
        note(loaded.material, role)
        then()

    watched = WatchedFiles(files.paths, read, OutageLog("reloading TLS files"), changed)
    if files.certificate is not None:
        metrics.read_certificate(role, lambda: watched.value.material.expires_at)
    return watched


def note(tls: TlsMaterial, role: str) -> None:
    """Log that new connections use other files."""
    expires = datetime.fromtimestamp(tls.expires_at, UTC).isoformat() if tls.certificate else "no certificate"
    logger().info("TLS files were reloaded", role=role, expires=expires)
