"""The properties of librdkafka that an operator may set in a file, and why each of the others is refused.

The tables are complete: a property that is in none is refused as unknown, so that a new version of the library cannot
add one that breaks a promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.secret_files import read_text

FILE_BYTES_MAX = 65_536
# How a connection is made and secured, what a client remembers of the cluster, and how much it transfers at once.
ALLOWED_NAMES = """
    api.version.request api.version.request.timeout.ms batch.num.messages broker.address.family
    broker.address.ttl check.crcs client.dns.lookup client.rack compression.codec compression.level
    compression.type connections.max.idle.ms coordinator.query.interval.ms enable.metrics.push
    enable.sparse.connections fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes
    fetch.queue.backoff.ms fetch.wait.max.ms https.ca.location https.ca.pem log.connection.close
    max.partition.fetch.bytes message.copy.max.bytes metadata.max.age.ms
    metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy metadata.request.timeout.ms
    queued.min.messages receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms
    reconnect.backoff.ms retry.backoff.max.ms retry.backoff.ms sasl.oauthbearer.assertion.algorithm
    sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds
    sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include
    sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub
    sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.jwt.template.file
    sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase
    sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.extensions sasl.oauthbearer.grant.type
    sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.sub.claim.name
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable
    socket.receive.buffer.bytes socket.send.buffer.bytes ssl.ca.certificate.stores ssl.ca.pem
    ssl.certificate.pem ssl.cipher.suites ssl.crl.location ssl.curves.list ssl.endpoint.identification.algorithm
    ssl.key.password ssl.key.pem ssl.keystore.location ssl.keystore.password ssl.providers
    ssl.sigalgs.list topic.metadata.propagation.max.ms topic.metadata.refresh.fast.cnt
    topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.sparse
"""
ALLOWED = frozenset(ALLOWED_NAMES.split())
# A setting is validated at start, its secret is in a file, and a changed secret is read again.
SETTINGS: Mapping[str, str] = {
    "bootstrap.servers": "UGC_KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "UGC_KAFKA_BOOTSTRAP_SERVERS",
    "security.protocol": "UGC_KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanism": "UGC_KAFKA_SASL_MECHANISM",
    "sasl.mechanisms": "UGC_KAFKA_SASL_MECHANISM",
    "sasl.username": "UGC_KAFKA_SASL_USERNAME",
    "sasl.password": "UGC_KAFKA_SASL_PASSWORD_FILE",
    "ssl.ca.location": "UGC_KAFKA_SSL_CA_FILE",
    "ssl.certificate.location": "UGC_KAFKA_SSL_CERT_FILE",
    "ssl.key.location": "UGC_KAFKA_SSL_KEY_FILE",
    "sasl.oauthbearer.client.id": "UGC_KAFKA_OAUTH_CLIENT_ID",
    "sasl.oauthbearer.client.credentials.client.id": "UGC_KAFKA_OAUTH_CLIENT_ID",
    "sasl.oauthbearer.client.secret": "UGC_KAFKA_OAUTH_CLIENT_SECRET_FILE",
    "sasl.oauthbearer.client.credentials.client.secret": "UGC_KAFKA_OAUTH_CLIENT_SECRET_FILE",
    "sasl.oauthbearer.scope": "UGC_KAFKA_OAUTH_SCOPE",
    "sasl.oauthbearer.token.endpoint.url": "UGC_KAFKA_OAUTH_TOKEN_URL",
    "group.id": "UGC_ETL_GROUP",
    "queue.buffering.max.messages": "UGC_INGEST_QUEUE_EVENTS_MAX",
    "queue.buffering.max.kbytes": "UGC_INGEST_QUEUE_KILOBYTES_MAX",
    "queue.buffering.max.ms": "UGC_INGEST_LINGER_SECONDS",
    "linger.ms": "UGC_INGEST_LINGER_SECONDS",
    "max.in.flight": "UGC_INGEST_KAFKA_REQUESTS_MAX",
    "max.in.flight.requests.per.connection": "UGC_INGEST_KAFKA_REQUESTS_MAX",
    "message.timeout.ms": "UGC_INGEST_DELIVERY_SECONDS_MAX",
    "delivery.timeout.ms": "UGC_INGEST_DELIVERY_SECONDS_MAX",
    "request.timeout.ms": "UGC_INGEST_DELIVERY_SECONDS_MAX",
    "socket.timeout.ms": "UGC_ETL_KAFKA_SECONDS_MAX",
    "queued.max.messages.kbytes": "UGC_ETL_FETCH_KILOBYTES_MAX",
}
# The names by the reason.
REFUSED_NAMES: Mapping[str, str] = {
    "an acknowledged event would not be stored by all in-sync replicas, exactly once and in order": """
        acks request.required.acks enable.idempotence enable.gapless.guarantee retries
        message.send.max.retries queuing.strategy msg_order_cmp transactional.id transaction.timeout.ms
    """,
    "the etl commits an offset only once ClickHouse has the rows": """
        enable.auto.commit auto.commit.enable auto.commit.interval.ms enable.auto.offset.store
        offset.store.method offset.store.path offset.store.sync.interval.ms share.acknowledgement.mode
    """,
    "the etl decides at which offset it continues, and an operator about one that is gone": """
        auto.offset.reset
    """,
    "the etl joins its group with Kafka's own protocol (KIP-848)": """
        group.protocol group.protocol.type group.instance.id group.remote.assignor
        partition.assignment.strategy session.timeout.ms heartbeat.interval.ms max.poll.interval.ms
    """,
    "a user's events stay in the partition that ugc-replay and Java clients choose too": """
        partitioner partitioner_cb sticky.partitioning.linger.ms enable.random.seed
    """,
    "the etl would not read exactly the events that the topic has": """
        isolation.level topic.blacklist enable.partition.eof consume.callback.max.messages max.poll.records
        allow.auto.create.topics
    """,
    "the limits of events and requests are settings of the processes": """
        message.max.bytes batch.size queue.buffering.backpressure.threshold
        topic.metadata.refresh.interval.ms socket.blocking.max.ms
    """,
    "the processes read the client's reports and statistics themselves": """
        statistics.interval.ms log_level log_cb log.queue log.thread.name logger debug client.id
        client.software.name client.software.version delivery.report.only.error produce.offset.report
        enabled_events error_cb throttle_cb stats_cb oauth_cb oauthbearer_token_refresh_cb on_commit
        on_delivery dr_cb dr_msg_cb consume_cb rebalance_cb offset_commit_cb opaque socket_cb connect_cb
        closesocket_cb open_cb resolve_cb background_event_cb ssl.certificate.verify_cb enable_sasl_queue
        internal.termination.signal interceptors default_topic_conf default.topic.config key.serializer
        value.serializer key.deserializer value.deserializer builtin.features api.version.fallback.ms
        broker.version.fallback ssl_key ssl_certificate ssl_ca ssl_engine_callback_data
        sasl.oauthbearer.method
    """,
    "any server could read the events and the passwords; name the authority in UGC_KAFKA_SSL_CA_FILE": """
        enable.ssl.certificate.verification
    """,
    "a token that no issuer has signed authenticates nobody": """
        enable.sasl.oauthbearer.unsecure.jwt sasl.oauthbearer.config
    """,
    "GSSAPI is not one of the mechanisms of UGC_KAFKA_SASL_MECHANISM": """
        sasl.kerberos.keytab sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin
        sasl.kerberos.principal sasl.kerberos.service.name
    """,
    "it would load a program's code into the process": """
        plugin.library.paths ssl.engine.location ssl.engine.id
    """,
    "acknowledged events would be stored nowhere": """
        test.mock.num.brokers test.mock.broker.rtt ut_handle_ApiVersionResponse
    """,
}
REASONS: Mapping[str, str] = {name: reason for reason, names in REFUSED_NAMES.items() for name in names.split()}


def read_properties(path: Path) -> dict[str, str]:
    """Return the properties of a file with one `name=value` a line; ValueError with the line and the reason.

    Empty lines and those that begin with # are skipped. A value is never part of an error, because it may be a secret.
    """
    properties: dict[str, str] = {}
    for number, line in enumerate(read_text(path, FILE_BYTES_MAX).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, separator, value = (part.strip() for part in line.partition("="))
        if not separator or not name:
            raise ValueError(f"line {number} of {path} is not name=value")
        if name in properties:
            raise ValueError(f"line {number} of {path} has {name} again")
        if problem := refusal(name):
            raise ValueError(f"line {number} of {path}: {name} {problem}")
        properties[name] = value
    return properties


def refusal(name: str) -> str:
    """Return why a property is refused; empty if it may be set."""
    if name in ALLOWED:
        return ""
    if setting := SETTINGS.get(name):
        return f"has a setting of its own: use {setting}"
    if reason := REASONS.get(name):
        return f"cannot be set: {reason}"
    return "is not a property that can be set"
