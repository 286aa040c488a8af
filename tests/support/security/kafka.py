"""A broker with SASL_SSL (SCRAM), mTLS and access control lists, as one node on this machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not re-exported explicitly
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from common.settings import Address
from local.kafka.files import HOST, META_PROPERTIES, QUICK, SERVER_PROPERTIES, formatter, write_files
from local.kafka.server import kafka_program, new_identity, run_java
from local.processes.ports import free_port
from local.processes.program import Child, Program, running
from tests.support.certificates import Certificates, Pair

ADMINISTRATOR, MECHANISM = "admin", "SCRAM-SHA-512"
WAIT_SECONDS_MAX = 30
ITERATIONS = 4096
SECURED = """\
listeners=SASL_SSL://{host}:{scram},MTLS://{host}:{mtls},CONTROLLER://{host}:{controller}
advertised.listeners=SASL_SSL://{host}:{scram},MTLS://{host}:{mtls}
listener.security.protocol.map=SASL_SSL:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
# Clients authenticate again so often, on connections that stay open.
connections.max.reauth.ms=4000
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username="{administrator}" password="{password}";
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_plain="plain-secret";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.mtls.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^(?:.*,)?CN=([^,]+).*$/$1/,DEFAULT
ssl.enabled.protocols=TLSv1.3,TLSv1.2
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# The controller's listener has no authentication, and is this machine's alone.
super.users=User:{administrator};User:ANONYMOUS
"""
# What the lines above replace.
REPLACED = ("listeners=", "advertised.listeners=", "listener.security.protocol.map=", "inter.broker.listener.name=")


@dataclass
class SecuredKafka:
    """A broker, its certificates, and the users that tests create."""

    folder: Path
    certificates: Certificates
    scram_port: int = field(default_factory=free_port)
    mtls_port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: f"secret-{uuid.uuid4().hex}")

    @property
    def scram(self) -> str:
        """The address of the listener for passwords."""
        return f"{HOST}:{self.scram_port}"

    @property
    def mtls(self) -> str:
        """The address of the listener for certificates."""
        return f"{HOST}:{self.mtls_port}"

    def program(self) -> Program:
        """Return the broker as a program."""
        plain = kafka_program(
            self.folder,
            self.scram_port,
            self.controller_port,
            group_session_milliseconds=4_000,
            java_options=[QUICK],
        )
        return replace(
            plain,
            prepare=self._prepare,
            ready=self._is_ready,
            listens={**plain.listens, "mtls": Address(HOST, self.mtls_port)},
        )

    def administrator(self) -> AdminClient:
        """Return a client that may do everything."""
        return AdminClient(
            {
                "bootstrap.servers": self.scram,
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": MECHANISM,
                "sasl.username": ADMINISTRATOR,
                "sasl.password": self.password,
                "ssl.ca.location": str(self.certificates.authority.file),
                "log_level": 0,
            }
        )

    def set_password(self, user: str, password: str) -> None:
        """Create a user, or change the password of one."""
        mechanism = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        wanted = UserScramCredentialUpsertion(user, mechanism, password.encode())
        client = self.administrator()
        for done in client.alter_user_scram_credentials([wanted]).values():
            done.result(WAIT_SECONDS_MAX)

    def allow(self, user: str, *grants: Grant) -> None:
        """Add access control entries for a user."""
        client = self.administrator()
        for done in client.create_acls([each.binding(user) for each in grants]).values():
            done.result(WAIT_SECONDS_MAX)

    def forbid(self, user: str, *grants: Grant) -> None:
        """Remove access control entries of a user."""
        client = self.administrator()
        for done in client.delete_acls([each.filter(user) for each in grants]).values():
            assert len(done.result(WAIT_SECONDS_MAX)) == 1

    def _prepare(self) -> None:
        write_files(self.folder, self.scram_port, self.controller_port, 4_000)
        path = self.folder / SERVER_PROPERTIES
        kept = [line for line in path.read_text().splitlines() if not line.startswith(REPLACED)]
        path.write_text(
            "\n".join(kept)
            + "\n"
            + SECURED.format(
                host=HOST,
                scram=self.scram_port,
                mtls=self.mtls_port,
                controller=self.controller_port,
                administrator=ADMINISTRATOR,
                password=self.password,
                keystore=self.certificates.server.keystore,
                authority=self.certificates.authority.file,
            )
        )
        if not (self.folder / META_PROPERTIES).exists():
            run_java(
                self.folder,
                [
                    *formatter(new_identity()),
                    "--add-scram",
                    f"{MECHANISM}=[name={ADMINISTRATOR},password={self.password}]",
                ],
            )

    def _is_ready(self) -> bool:
        try:
            return bool(self.administrator().list_topics(timeout=1).brokers)
        except KafkaException:
            return False


@dataclass(frozen=True)
class Grant:
    """An operation on a resource, as in `Grant("WRITE", "topic", "ugc.events")`."""

    operation: str
    resource: str
    name: str

    def binding(self, user: str) -> AclBinding:
        """Return the entry that lets a user do it."""
        return AclBinding(*self._pattern(), f"User:{user}", "*", *self._permission())

    def filter(self, user: str) -> AclBindingFilter:
        """Return what matches this entry alone."""
        return AclBindingFilter(*self._pattern(), f"User:{user}", "*", *self._permission())

    def _pattern(self) -> tuple[ResourceType, str, ResourcePatternType]:
        return ResourceType[self.resource.upper()], self.name, ResourcePatternType.LITERAL

    def _permission(self) -> tuple[AclOperation, AclPermissionType]:
        return AclOperation[self.operation], AclPermissionType.ALLOW


@contextmanager
def secured_kafka(folder: Path, certificates: Certificates) -> Iterator[tuple[SecuredKafka, Child]]:
    """Run a broker."""
    kafka = SecuredKafka(folder, certificates)
    with running(kafka.program()) as child:
        yield kafka, child


def settings_of(kafka: SecuredKafka, user: str, password: Path) -> dict[str, str]:
    """Return the settings with which a process authenticates by a password."""
    return {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": kafka.scram,
        "UGC_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "UGC_KAFKA_SASL_MECHANISM": MECHANISM,
        "UGC_KAFKA_SASL_USERNAME": user,
        "UGC_KAFKA_SASL_PASSWORD_FILE": str(password),
        "UGC_KAFKA_SSL_CA_FILE": str(kafka.certificates.authority.file),
    }


def mtls_settings_of(kafka: SecuredKafka, pair: Pair) -> Mapping[str, str]:
    """Return the settings with which a process authenticates by a certificate."""
    return {
        "UGC_KAFKA_BOOTSTRAP_SERVERS": kafka.mtls,
        "UGC_KAFKA_SECURITY_PROTOCOL": "SSL",
        "UGC_KAFKA_SSL_CA_FILE": str(kafka.certificates.authority.file),
        "UGC_KAFKA_SSL_CERT_FILE": str(pair.certificate),
        "UGC_KAFKA_SSL_KEY_FILE": str(pair.key),
    }
