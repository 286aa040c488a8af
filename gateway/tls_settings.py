"""Settings of TLS: of the gateway's HTTP server, and of its connections to the gRPC service."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from common.settings import Documented, Settings
from common.tls.files import TlsFiles
from common.tls.settings import TlsFile, check_client_file, check_server_file


class GatewayTlsSettings(Settings):
    """TLS of the HTTP server; shared with `ugc-up`, which has to connect to it."""

    gateway_tls_cert_file: TlsFile = None
    """File with the certificate of the HTTP server as PEM, intermediate ones after it; the server then accepts TLS 1.2
    and 1.3 only. Files of TLS are read again when they change."""

    gateway_tls_key_file: TlsFile = None
    """File with the private key of UGC_GATEWAY_TLS_CERT_FILE as PEM, not encrypted."""

    gateway_tls_client_ca_file: TlsFile = None
    """File with the certificates of the authorities, as PEM, one of which must have issued the certificate of a client;
    without this file clients need none."""

    _server_files = field_validator("gateway_tls_cert_file", "gateway_tls_key_file", "gateway_tls_client_ca_file")(
        check_server_file
    )

    @property
    def gateway_tls(self) -> TlsFiles | None:
        """The files of the server's TLS, None without TLS."""
        if self.gateway_tls_cert_file is None:
            return None
        return TlsFiles(self.gateway_tls_cert_file, self.gateway_tls_key_file, self.gateway_tls_client_ca_file)


class TargetTlsSettings(Settings):
    """TLS of the gateway's connections to the gRPC service."""

    ingest_target_tls_ca_file: TlsFile = None
    """File with the certificates of the authorities, as PEM, one of which must have issued the certificate of the gRPC
    service; the gateway then connects to it by TLS."""

    ingest_target_tls_cert_file: TlsFile = None
    """File with the certificate, as PEM, that the gateway presents to a gRPC service which demands one."""

    ingest_target_tls_key_file: TlsFile = None
    """File with the private key of UGC_INGEST_TARGET_TLS_CERT_FILE as PEM, not encrypted."""

    ingest_target_tls_server_name: Annotated[str, Documented("host name")] = Field(
        default="", max_length=253, pattern=r"^[A-Za-z0-9_.:-]*$"
    )
    """Name that the certificate of the gRPC service must have, where it is not the host of UGC_INGEST_TARGET."""

    _target_files = field_validator(
        "ingest_target_tls_ca_file", "ingest_target_tls_cert_file", "ingest_target_tls_key_file"
    )(check_client_file)

    @property
    def ingest_target_tls(self) -> TlsFiles | None:
        """The files of the TLS of the gateway's connections, None without TLS."""
        if self.ingest_target_tls_ca_file is None:
            return None
        return TlsFiles(
            self.ingest_target_tls_cert_file, self.ingest_target_tls_key_file, self.ingest_target_tls_ca_file
        )
