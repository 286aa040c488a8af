"""How a process connects to Kafka: the settings, and the properties of librdkafka that follow from them."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from common.kafka_properties import read_properties
from common.secret_files import ReadableFile, SecretFileSetting
from common.settings import Documented, KafkaServers, NeverEmpty, Settings

ENCRYPTED = {"SSL", "SASL_SSL"}
AUTHENTICATED = {"SASL_PLAINTEXT", "SASL_SSL"}
TOKENS = "OAUTHBEARER"
OAUTH = "sasl.oauthbearer."
SECRET = re.compile(r"pass(word|phrase)|key\.pem$")
# The properties that have a setting, except those of passwords.
PROPERTIES = {
    "security.protocol": "kafka_security_protocol",
    "sasl.mechanism": "kafka_sasl_mechanism",
    "sasl.username": "kafka_sasl_username",
    "ssl.ca.location": "kafka_ssl_ca_file",
    "ssl.certificate.location": "kafka_ssl_cert_file",
    "ssl.key.location": "kafka_ssl_key_file",
    f"{OAUTH}token.endpoint.url": "kafka_oauth_token_url",
    f"{OAUTH}client.id": "kafka_oauth_client_id",
    f"{OAUTH}scope": "kafka_oauth_scope",
}


def authorities(path: Path | None) -> Path | None:
    """Return the file; ValueError unless it has certificates as PEM."""
    if path is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"{path} has no certificates as PEM: {error}") from error
    return path


def properties_file(path: Path | None) -> Path | None:
    """Return the file; ValueError unless it has only properties that can be set."""
    if path is not None:
        read_properties(path)
    return path


class KafkaSecuritySettings(Settings):
    """How connections to Kafka are encrypted and authenticated. Half a pair of settings is refused by name."""

    # Read first, because the rules of the others depend on it.
    kafka_properties_file: Annotated[
        ReadableFile, NeverEmpty(), Documented("path"), AfterValidator(properties_file)
    ] = None
    """File with further properties of librdkafka, one `name=value` a line, for brokers that need them. A property that
    carries a guarantee, or that has a setting of its own, is refused by name."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Whether connections to Kafka are encrypted (SSL), authenticated (SASL), or both. With SSL alone Kafka may
    authenticate the process by its certificate."""

    kafka_ssl_ca_file: Annotated[
        ReadableFile, NeverEmpty(), Documented("path"), AfterValidator(authorities), Field(validate_default=True)
    ] = None
    """File with the certificates, as PEM, of the authorities that Kafka's certificate may be of; the system's
    authorities if it is not set."""

    kafka_ssl_cert_file: ReadableFile = None
    """File with the process's certificate for Kafka, as PEM; it needs UGC_KAFKA_SSL_KEY_FILE."""

    kafka_ssl_key_file: Annotated[ReadableFile, Field(validate_default=True)] = None
    """File with the private key of that certificate, as PEM without a password."""

    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None,
        Documented("text, one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"),
        Field(validate_default=True),
    ] = None
    """How the process authenticates to Kafka: with a user's name and password, or with a token (OAUTHBEARER)."""

    kafka_sasl_username: Annotated[str | None, NeverEmpty(), Field(validate_default=True)] = None
    """User's name for PLAIN and SCRAM."""

    kafka_sasl_password_file: Annotated[SecretFileSetting, Field(validate_default=True)] = None
    """File with the user's password for PLAIN and SCRAM. It is read again when it changes; open connections stay, and
    the next ones authenticate with the new password."""

    kafka_oauth_token_url: Annotated[
        str | None, NeverEmpty(), Documented("URL"), Field(pattern=r"^https?://[^\s]+$", validate_default=True)
    ] = None
    """URL at which the identity provider issues tokens for OAUTHBEARER, by OpenID Connect's client credentials."""

    kafka_oauth_client_id: Annotated[str | None, NeverEmpty(), Field(validate_default=True)] = None
    """Client id for the identity provider."""

    kafka_oauth_client_secret_file: Annotated[SecretFileSetting, Field(validate_default=True)] = None
    """File with the client's secret for the identity provider. It is read when a connection's client is created:
    restart the process after a change."""

    kafka_oauth_scope: Annotated[str | None, NeverEmpty()] = None
    """Scope that a token is asked for."""

    @field_validator("kafka_ssl_ca_file", "kafka_ssl_cert_file", "kafka_ssl_key_file")
    @classmethod
    def _needs_encryption(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        protocol = info.data.get("kafka_security_protocol")
        if path is not None and protocol is not None and protocol not in ENCRYPTED:
            raise ValueError(f"needs UGC_KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL, it is {protocol}")
        return path

    @field_validator("kafka_ssl_key_file")
    @classmethod
    def _pair(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        """Reject half a pair, and a key of another certificate."""
        if "kafka_ssl_cert_file" not in info.data:
            return key
        certificate: Path | None = info.data["kafka_ssl_cert_file"]
        if (key is None) != (certificate is None):
            raise ValueError("UGC_KAFKA_SSL_CERT_FILE and UGC_KAFKA_SSL_KEY_FILE need each other")
        if key is not None and certificate is not None:
            try:
                # An empty password: a key that needs one must not be asked for on the terminal.
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
            except (ssl.SSLError, OSError) as error:
                raise ValueError(f"{key} is not the private key of {certificate}: {error}") from error
        return key

    @field_validator("kafka_sasl_mechanism")
    @classmethod
    def _with_sasl(cls, mechanism: str | None, info: ValidationInfo) -> str | None:
        protocol = info.data.get("kafka_security_protocol")
        if protocol is not None and (protocol in AUTHENTICATED) != (mechanism is not None):
            wanted = "a mechanism" if mechanism is None else "UGC_KAFKA_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT"
            raise ValueError(f"needs {wanted}: UGC_KAFKA_SECURITY_PROTOCOL is {protocol}")
        return mechanism

    @field_validator(
        "kafka_sasl_username",
        "kafka_sasl_password_file",
        "kafka_oauth_token_url",
        "kafka_oauth_client_id",
        "kafka_oauth_client_secret_file",
    )
    @classmethod
    def _as_the_mechanism_needs(cls, value: object, info: ValidationInfo) -> object:
        if "kafka_sasl_mechanism" not in info.data:
            return value
        mechanism, is_oauth = info.data["kafka_sasl_mechanism"], "oauth" in str(info.field_name)
        uses = mechanism is not None and is_oauth == (mechanism == TOKENS)
        if value is not None and not uses:
            wanted = TOKENS if is_oauth else "PLAIN or SCRAM"
            raise ValueError(f"needs UGC_KAFKA_SASL_MECHANISM={wanted}, it is {mechanism or 'not set'}")
        path: Path | None = info.data.get("kafka_properties_file")
        # Other grants need other properties.
        is_in_file = is_oauth and path is not None and any(name.startswith(OAUTH) for name in read_properties(path))
        if value is None and uses and not is_in_file:
            raise ValueError(f"is needed for UGC_KAFKA_SASL_MECHANISM={mechanism}")
        return value

    def secret_properties(self) -> list[str]:
        """Return the values of the file of properties that may be passwords or private keys."""
        properties = {} if self.kafka_properties_file is None else read_properties(self.kafka_properties_file)
        return [value for name, value in properties.items() if SECRET.search(name)]


class KafkaSettings(KafkaSecuritySettings):
    """The Kafka cluster and the topic of the events."""

    kafka_bootstrap_servers: KafkaServers = "localhost:9092"
    """Kafka's bootstrap servers, as `host:port` separated by commas; an IPv6 address is written `[::1]:9092`."""

    kafka_topic: Annotated[str, Documented("1 to 249 letters, digits, '.', '_', '-'")] = Field(
        default="ugc.events", pattern=r"^[a-zA-Z0-9._-]{1,249}$"
    )
    """Topic that ingest writes events to and the etl reads them from."""

    def client_properties(self) -> dict[str, str]:
        """Return librdkafka's properties of a connection, with the secrets that the files have now.

        ValueError when a file cannot be read any more.
        """
        properties = {"bootstrap.servers": self.kafka_bootstrap_servers}
        if self.kafka_properties_file is not None:
            properties |= read_properties(self.kafka_properties_file)
        given = {name: getattr(self, setting) for name, setting in PROPERTIES.items()}
        properties |= {name: str(value) for name, value in given.items() if value is not None}
        if self.kafka_sasl_mechanism == TOKENS:
            properties[f"{OAUTH}method"] = "oidc"
        if self.kafka_sasl_password_file is not None:
            properties["sasl.password"] = self.kafka_sasl_password_file.read()
        if self.kafka_oauth_client_secret_file is not None:
            properties[f"{OAUTH}client.secret"] = self.kafka_oauth_client_secret_file.read()
        return properties


def client_properties(kafka: KafkaSettings | str) -> dict[str, str]:
    """Return librdkafka's properties of a connection; a text is the address of brokers that need no authentication."""
    return {"bootstrap.servers": kafka} if isinstance(kafka, str) else kafka.client_properties()


def servers_of(kafka: KafkaSettings | str) -> str:
    """Return the bootstrap servers."""
    return kafka if isinstance(kafka, str) else kafka.kafka_bootstrap_servers
