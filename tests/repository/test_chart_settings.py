"""The settings that the Helm chart gives to the processes: each accepts them, and finds the files that they name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from common.settings import PREFIX
from deploy.helm.processes import PROCESSES
from deploy.helm.rendering import ChartError
from tests.support.certificates import Certificates
from tests.support.charts.manifests import (
    LONG_RUNNING,
    RELEASES,
    container,
    manifests,
    mounted,
    needs_helm,
    of_kind,
    pods,
    rendered,
    values_file,
    variables,
)

PATH = re.compile(r"/etc/ugc/[\w./-]+")


@pytest.mark.parametrize("name", RELEASES)
def test_settings(name: str, monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> None:
    """Each process accepts its variables, all of which are settings of it; every file that one names is mounted."""
    found = pods(manifests(name))
    assert set(found) == {*LONG_RUNNING, "migrate"}
    for process, pod in found.items():
        kind = PROCESSES[process].settings
        given = variables(pod)
        named = {path for text in given.values() for path in PATH.findall(text)}

        assert {each["name"] for each in container(pod)["env"]} - {"POD_IP"} <= {
            PREFIX + field.upper() for field in kind.model_fields
        }
        assert named == set(mounted(pod))
        with monkeypatch.context() as patch:
            for variable, text in given.items():
                patch.setenv(variable, PATH.sub(lambda match: str(file_like(match[0], certificates)), text))
            kind()


def file_like(path: str, certificates: Certificates) -> Path:
    """Return a file of the test with the content that the file of a Secret or ConfigMap would have."""
    key = Path(path).name
    pair = certificates.client if "gateway" in path else certificates.server
    if key in {"tls.crt", "user.crt"}:
        return pair.certificate
    if key in {"tls.key", "user.key"}:
        return pair.key
    if key == "ca.crt":
        return certificates.authority.file
    file = certificates.folder / key
    file.write_text(json.dumps({"keys": [jwk()]}) if key == "jwks.json" else "secret", encoding="utf-8")
    return file


def jwk() -> dict[str, str]:
    """Return a public key in the form of JWKS."""
    key: dict[str, str] = ECAlgorithm.to_jwk(generate_private_key(SECP256R1()).public_key(), as_dict=True)
    return {**key, "kid": "a"}


def test_ports_follow_settings(tmp_path: Path) -> None:
    """A listener that is moved takes ports, Services, policies and the gateway's target with it."""
    found = rendered(
        values_file(tmp_path, {"ingest": {"settings": {"UGC_INGEST_LISTEN": "0.0.0.0:6000"}}}),
        "--set",
        "networkPolicy.enabled=true",
    )
    policy = of_kind(found, "NetworkPolicy")["gateway"]["spec"]["egress"]

    assert variables(pods(found)["gateway"])["UGC_INGEST_TARGET"].endswith(":6000")
    assert of_kind(found, "Service")["ingest"]["spec"]["ports"][0]["port"] == 6000
    assert [6000] in [[port["port"] for port in rule["ports"]] for rule in policy]


def test_given_twice(tmp_path: Path) -> None:
    """A setting in two forms is an error that names it; one of a process replaces one of all processes."""
    needs_helm()
    variable, secret = "UGC_CLICKHOUSE_URL", {"existingSecret": "clickhouse", "key": "url"}
    twice = {"settings": {variable: "clickhouse://a/ugc"}, "secretSettings": {variable: secret}}
    with pytest.raises(ChartError, match=f"{variable} of etl is given twice: in settings and in secretSettings"):
        rendered(values_file(tmp_path, {"etl": twice}))
    found = rendered(
        values_file(tmp_path, {"settings": twice["settings"], "etl": {"secretSettings": twice["secretSettings"]}})
    )
    (given,) = [each for each in container(pods(found)["etl"])["env"] if each["name"] == variable]

    assert given["valueFrom"]["secretKeyRef"] == {"name": "clickhouse", "key": "url"}
    assert variables(pods(found)["migrate"])[variable] == "clickhouse://a/ugc"


def test_texts_are_kept(tmp_path: Path) -> None:
    """Large numbers, booleans and texts reach a process as they are written."""
    settings = {
        "UGC_INGEST_BYTES_IN_FLIGHT_MAX": 68_719_476_736,
        "UGC_INGEST_LINGER_SECONDS": 0.001,
        "UGC_INGEST_DEBUG": False,
        "UGC_INGEST_AUTH_ISSUER": "a $(POD_IP) 'b' \"c\"",
    }
    found = variables(pods(rendered(values_file(tmp_path, {"ingest": {"settings": settings}})))["ingest"])

    assert {name: found[name] for name in settings} == {
        "UGC_INGEST_BYTES_IN_FLIGHT_MAX": "68719476736",
        "UGC_INGEST_LINGER_SECONDS": "0.001",
        "UGC_INGEST_DEBUG": "false",
        "UGC_INGEST_AUTH_ISSUER": settings["UGC_INGEST_AUTH_ISSUER"],
    }


def test_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With IPv6 every address is in brackets, and the processes accept them."""
    for process, pod in pods(rendered(values_file(tmp_path, {}), "--set", "ipv6=true")).items():
        with monkeypatch.context() as patch:
            for variable, text in variables(pod).items():
                patch.setenv(variable, text.replace("10.1.2.3", "fd00::1"))
            listen = [field for field in type(PROCESSES[process].settings()).model_fields if field.endswith("_listen")]
            settings = PROCESSES[process].settings()
            assert {getattr(settings, field).host for field in listen} <= {"::", "fd00::1"}
