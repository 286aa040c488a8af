"""An invalid setting ends the process and prints the variable and its value, but never a password."""

from __future__ import annotations

import pytest

from common.clickhouse_settings import ClickHouseSettings
from common.kafka_settings import KafkaSettings
from common.settings import EXIT_BAD_SETTING, Address, check_servers, load, parse_address
from local.settings import UpSettings

LABEL = "x" * 63


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("clickhouse://analyst:s3cret@store:9000", "clickhouse://analyst:***@store:9000"),
        ("clickhouse://:s3cret@store:9000", "clickhouse://:***@store:9000"),
        ("http://store:8123/ugc", "http://store:8123/ugc"),
    ],
)
def test_passwords_are_not_shown(
    given: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A URL is printed without its password."""
    monkeypatch.setenv("UGC_CLICKHOUSE_URL", given)
    with pytest.raises(SystemExit) as ended:
        load(ClickHouseSettings)
    printed = capsys.readouterr().err

    assert ended.value.code == EXIT_BAD_SETTING
    assert "bad setting UGC_CLICKHOUSE_URL" in printed
    assert f"(it is {shown!r})" in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8000", Address("localhost", 8000)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),  # noqa: S104 -- an address to be read
        ("kafka_1.internal-net.:65535", Address("kafka_1.internal-net.", 65535)),
        ("[::1]:8000", Address("::1", 8000)),
        ("[::]:8000", Address("::", 8000)),
        ("[2001:DB8::1]:8000", Address("2001:db8::1", 8000)),
        ("[fe80::1%eth0]:8000", Address("fe80::1%eth0", 8000)),
        ("[::ffff:127.0.0.1]:8000", Address("::ffff:7f00:1", 8000)),
        (f"{LABEL}.{LABEL}:1", Address(f"{LABEL}.{LABEL}", 1)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """An address is a host name, an IPv4 address or an IPv6 address in brackets, with a port; `str` gives it back."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


BAD_ADDRESSES = [
    ("", "must be host:port"),
    ("localhost", "must be host:port"),
    (":8000", "must be host:port"),
    ("localhost:", "must be host:port"),
    ("localhost:65536", "port from . to 65535"),
    ("localhost:-1", "port from . to 65535"),
    ("localhost:+1", "port from . to 65535"),
    ("localhost:1e3", "port from . to 65535"),
    ("localhost:8000 ", "port from . to 65535|without spaces"),
    ("localhost:\u0661", "port from . to 65535"),
    ("localhost:" + "9" * 5_000, "port from . to 65535"),
    ("::1:8000", "in brackets as in"),
    ("2001:db8::1:8000", "in brackets as in"),
    ("[::1:8000", "in brackets as in|port from"),
    ("[::1]8000", "must be host:port"),
    ("[]:8000", "not a valid IPv6 address"),
    ("[localhost]:8000", "not a valid IPv6 address"),
    ("[127.0.0.1]:8000", "not a valid IPv6 address"),
    ("[::1::2]:8000", "not a valid IPv6 address"),
    ("[[::1]]:8000", "not a valid IPv6 address"),
    ("http://localhost:8000", "in brackets as in|not a valid host"),
    ("local host:8000", "not a valid host name"),
    (" localhost:8000", "not a valid host name|without spaces"),
    ("user@localhost:8000", "not a valid host name"),
    ("-x:8000", "not a valid host name"),
    ("\u00e9:8000", "not a valid host name"),
    (f"{LABEL}x.y:1", "not a valid host name"),
    ("x" * 254 + ":1", "not a valid host name"),
    ("a\nb:1", "not a valid host name"),
]


@pytest.mark.parametrize(("text", "words"), BAD_ADDRESSES)
def test_bad_addresses(text: str, words: str) -> None:
    """An invalid address is rejected with the reason, to listen on and in Kafka's list."""
    with pytest.raises(ValueError, match=words):
        parse_address(text)
    for servers in (text, f"localhost:9092,{text}", f"{text},localhost:9092"):
        with pytest.raises(ValueError, match=f"{words}|without spaces or empty items"):
            check_servers(servers)


@pytest.mark.parametrize("text", ["a:1", "[::1]:9092", "a:1,[2001:db8::1]:9092,10.0.0.1:65535", "a:9092,b:9092,c:9092"])
def test_kafka_servers(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's list is passed to its client unchanged."""
    monkeypatch.setenv("UGC_KAFKA_BOOTSTRAP_SERVERS", text)

    assert load(KafkaSettings).kafka_bootstrap_servers == load(UpSettings).kafka_bootstrap_servers == text


@pytest.mark.parametrize(
    "text", ["::1:9092", "kafka", "kafka:0", "kafka:99999", "a:1,,b:1", "a:1, b:1", "a:1;b:1", "kafka://a:1"]
)
@pytest.mark.parametrize("kind", [KafkaSettings, UpSettings])
def test_bad_kafka_servers(
    kind: type[KafkaSettings], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that the Kafka client could not use ends every process and names the variable."""
    monkeypatch.setenv("UGC_KAFKA_BOOTSTRAP_SERVERS", text)
    with pytest.raises(SystemExit) as ended:
        load(kind)

    assert ended.value.code == EXIT_BAD_SETTING
    assert capsys.readouterr().err.startswith("bad setting UGC_KAFKA_BOOTSTRAP_SERVERS: ")
