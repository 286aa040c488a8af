"""tests/support/certificates.py: the certificates are what their names say, so that attacks with them are real."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from tests.support.certificates import Certificates, Pair
from tests.support.clients.tls import client_context, hello


def handshake(server: Pair, client: Pair | None, certificates: Certificates) -> None:
    """Do a handshake in which each side verifies the other by the first authority; SSLError when the server fails."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(server.certificate, server.key)
    accepting.load_verify_locations(certificates.authority.file)
    accepting.verify_mode = ssl.CERT_REQUIRED
    connecting = ssl.create_default_context(cafile=str(certificates.authority.file))
    if client is not None:
        connecting.load_cert_chain(client.certificate, client.key)
    here, there = socket.socketpair()
    here.settimeout(10)
    there.settimeout(10)
    failures: list[Exception] = []

    def connect() -> None:
        try:
            with connecting.wrap_socket(there, server_hostname="localhost") as secured:
                secured.recv(1)
        except (ssl.SSLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        with accepting.wrap_socket(here, server_side=True):
            pass
    finally:
        here.close()
        thread.join()
    if failures:
        raise failures[0]


def test_accepted(certificates: Certificates) -> None:
    """The server and the client of one authority accept each other."""
    handshake(certificates.server, certificates.client, certificates)


@pytest.mark.parametrize("name", ["client_of_other", "expired", "not_yet_valid"])
def test_refused_clients(certificates: Certificates, name: str) -> None:
    """A client is refused whose certificate is of another authority or not valid today."""
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        handshake(certificates.server, getattr(certificates, name), certificates)


@pytest.mark.parametrize("name", ["server_of_other", "expired", "not_yet_valid"])
def test_refused_servers(certificates: Certificates, name: str) -> None:
    """A server is refused whose certificate is of another authority or not valid today."""
    with pytest.raises(ssl.SSLError, match=r"unknown ca|certificate expired|bad certificate"):
        handshake(getattr(certificates, name), certificates.client, certificates)


def test_replaced(certificates: Certificates) -> None:
    """A pair that has been replaced is the other one."""
    certificates.server.replace_with(certificates.server_of_other)

    with pytest.raises(ssl.SSLError, match="unknown ca"):
        handshake(certificates.server, certificates.client, certificates)


@pytest.mark.parametrize(
    ("version", "sent"), [(ssl.TLSVersion.TLSv1_1, b"\x03\x02"), (ssl.TLSVersion.TLSv1_2, b"\x03\x03")]
)
def test_old_versions(certificates: Certificates, version: ssl.TLSVersion, sent: bytes) -> None:
    """A client of an old version offers that version, so that a refusal of it is the server's."""
    first = hello(client_context(certificates.authority.file, version=version))

    record_and_message_headers = 5 + 4
    assert first[record_and_message_headers : record_and_message_headers + 2] == sent
