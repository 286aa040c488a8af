"""The file of Kafka's properties: what it may set, and that every other property of the library is refused."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import confluent_kafka
import pytest

from common.kafka_properties import ALLOWED, REASONS, SETTINGS, read_properties
from services.ingest.kafka.configuration import producer_configuration
from services.ingest.settings import IngestSettings

# Those that the product sets and an operator may change, because no promise depends on them.
TUNABLE = {"compression.type", "reconnect.backoff.max.ms"}
# The promises of issue 12, each by every name of the library for it.
PROMISES = """
acks request.required.acks enable.idempotence group.protocol enable.auto.commit auto.commit.enable
enable.auto.offset.store auto.offset.reset transactional.id group.id message.timeout.ms delivery.timeout.ms
max.in.flight max.in.flight.requests.per.connection partitioner retries message.send.max.retries
queue.buffering.max.messages queue.buffering.max.kbytes isolation.level
"""


def of_the_library(folder: Path) -> set[str]:
    """Return the names of all properties that the installed librdkafka documents, aliases included."""
    libraries = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    (file,) = libraries.glob("librdkafka-*.so*")
    library, c = ctypes.CDLL(str(file)), ctypes.CDLL(None)
    c.fopen.restype, c.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    library.rd_kafka_conf_properties_show.argtypes = [ctypes.c_void_p]
    path = folder / "properties.md"
    stream = c.fopen(str(path).encode(), b"w")
    library.rd_kafka_conf_properties_show(stream)
    c.fclose(stream)
    names = re.findall(r"^([\w.]+) +\| +[*CP] ", path.read_text(), re.MULTILINE)
    assert len(names) > 150
    return set(names)


def test_every_property_is_classified(tmp_path: Path) -> None:
    """Each property of the library may be set, has a setting, or is refused for a reason; none is two of these."""
    classes = (ALLOWED, SETTINGS.keys(), REASONS.keys())

    assert of_the_library(tmp_path) - set().union(*classes) == set()
    assert sum(map(len, classes)) == len(set().union(*classes))


def test_settings_exist() -> None:
    """A property that is refused for a setting names one."""
    from db.settings import AuditSettings
    from etl.settings import EtlSettings

    known = {
        f"UGC_{name.upper()}" for kind in (IngestSettings, EtlSettings, AuditSettings) for name in kind.model_fields
    }

    assert set(SETTINGS.values()) <= known


def test_what_the_product_sets_cannot_be_replaced() -> None:
    """The properties of ingest's producer are refused, except two that no promise depends on."""
    assert producer_configuration(IngestSettings()).keys() & ALLOWED == TUNABLE


@pytest.mark.parametrize(
    "name", [*PROMISES.split(), "sasl.password", "ssl.ca.location", "plugin.library.paths", "made.up"]
)
def test_refused(name: str, tmp_path: Path) -> None:
    """A refused property is named with its line, and its value, which may be a secret, is not."""
    path = tmp_path / "kafka.properties"
    path.write_text(f"client.rack=a\n\n{name}=hidden-value\n")
    with pytest.raises(ValueError, match=rf"^line 3 of {re.escape(str(path))}: {re.escape(name)} ") as raised:
        read_properties(path)

    assert "hidden-value" not in str(raised.value)


def test_read(tmp_path: Path) -> None:
    """Comments and empty lines are skipped, a value may contain =, and spaces around both are not part of them."""
    path = tmp_path / "kafka.properties"
    path.write_text("# a comment\n\n client.rack = zone=a \nssl.key.password=a#b\n")

    assert read_properties(path) == {"client.rack": "zone=a", "ssl.key.password": "a#b"}


@pytest.mark.parametrize("text", ["client.rack", "=a", "client.rack=a\nclient.rack=b"])
def test_malformed(text: str, tmp_path: Path) -> None:
    """A line without a name or a value, and a repeated name, are refused."""
    path = tmp_path / "kafka.properties"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^line \d of "):
        read_properties(path)
