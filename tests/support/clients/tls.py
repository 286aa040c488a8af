"""Clients of TLS, well-behaved and not: contexts for Python's ssl, and what comes of a handshake."""

from __future__ import annotations

import socket
import ssl
import warnings
from pathlib import Path

from common.settings import Address
from tests.support.certificates import Certificates, Pair

SECONDS_MAX = 30.0


def client_context(
    authority: Path | None, pair: Pair | None = None, version: ssl.TLSVersion | None = None, alpn: str = "h2"
) -> ssl.SSLContext:
    """Return what a client verifies a server by; without an authority it verifies nothing."""
    context = ssl.create_default_context(cafile=authority)
    if authority is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    if version is not None:
        # The client must be able to offer what servers are to refuse.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols([alpn])
    return context


def answer_to(address: Address, context: ssl.SSLContext | None, request: bytes) -> bytes:
    """Send a request by TLS, or in plaintext without a context; return what arrives first, empty if it is an end.

    ssl.SSLError when one of both sides refuses the other. With TLS 1.3 a client learns that after its own handshake.
    """
    with socket.create_connection(address, SECONDS_MAX) as connection:
        if context is None:
            connection.sendall(request)
            return received(connection)
        with context.wrap_socket(connection, server_hostname="localhost") as secured:
            secured.sendall(request)
            return received(secured)


def received(connection: socket.socket) -> bytes:
    """Return what arrives first; empty if the connection ends, also by a reset."""
    try:
        return connection.recv(65_536)
    except ConnectionError:
        return b""


def hello(context: ssl.SSLContext) -> bytes:
    """Return the first message of a client's handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs an answer")


def refused_clients(certificates: Certificates) -> dict[str, ssl.SSLContext | None]:
    """Return clients that a server with mTLS must refuse, by what is wrong with them."""
    trusted = certificates.authority.file
    return {
        "plaintext": None,
        "no certificate": client_context(trusted),
        "a certificate of another authority": client_context(trusted, certificates.client_of_other),
        "an expired certificate": client_context(trusted, certificates.expired),
        "a certificate that is not yet valid": client_context(trusted, certificates.not_yet_valid),
        "TLS 1.1": client_context(trusted, certificates.client, ssl.TLSVersion.TLSv1_1),
        "TLS 1.0": client_context(trusted, certificates.client, ssl.TLSVersion.TLSv1),
    }
