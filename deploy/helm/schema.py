"""values.schema.json: each value that the chart takes; an unknown one is an error of `helm lint` and `helm install`."""

from __future__ import annotations

import json

from common.settings import variable_of
from deploy.helm.processes import PROCESSES, ChartProcess, is_file
from deploy.helm.setting_schemas import Schema, is_secret, is_text, setting_schema

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
# Objects and lists of Kubernetes itself, which the API server checks.
OBJECT: Schema = {"type": "object"}
LIST: Schema = {"type": "array", "items": {"type": "object"}}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
PORTS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65_535}}
# The HPA accepts only replicas from 1.
REPLICAS: Schema = {"type": "integer", "minimum": 1, "maximum": 1_000}
SECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": 3_600}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"}
KEY: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,253}$"}


def closed(properties: Schema, *required: str) -> Schema:
    """Return the schema of an object without other keys."""
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


IN_SECRET = closed({"existingSecret": NAME, "key": KEY}, "existingSecret", "key")
FILE: Schema = {
    "oneOf": [IN_SECRET, closed({"existingConfigMap": NAME, "key": KEY}, "existingConfigMap", "key")],
}
IMAGE = {"tag": TEXT, "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}}
# What every pod may be given besides settings.
POD: Schema = {
    "image": closed(dict(IMAGE)),
    "enabled": FLAG,
    "resources": OBJECT,
    "extraFiles": {"type": "array", "items": {"$ref": "#/$defs/file"}},
    # A misspelled setting is refused only among the settings.
    "extraEnv": {"type": "array", "items": {"type": "object", "properties": {"name": {"not": {"pattern": "^UGC_"}}}}},
    "extraVolumes": LIST,
    "extraVolumeMounts": LIST,
    "podAnnotations": TEXTS,
    "podLabels": TEXTS,
    "nodeSelector": TEXTS,
    "tolerations": LIST,
    "affinity": OBJECT,
    "priorityClassName": TEXT,
}
WORKLOAD: Schema = {
    **POD,
    "replicas": REPLICAS,
    "preStopSeconds": SECONDS,
    "topologySpreadConstraints": LIST,
}
SCALE: Schema = {"enabled": FLAG, "minReplicas": REPLICAS, "maxReplicas": REPLICAS}
HPA = closed({**SCALE, "cpuPercent": {"type": "integer", "minimum": 1, "maximum": 100}})
KEDA = closed(
    {
        **SCALE,
        "maxReplicas": {"type": "integer", "minimum": 0, "maximum": 1_000},
        "lagThreshold": {"type": "integer", "minimum": 1},
        "pollingSeconds": {"type": "integer", "minimum": 1, "maximum": 3_600},
        "authenticationRef": TEXT,
    }
)
SERVICE = closed(
    {
        "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
        "annotations": TEXTS,
    }
)
# What each process takes that the others do not.
OWN: dict[str, Schema] = {
    "ingest": {**WORKLOAD, "autoscaling": HPA},
    "gateway": {**WORKLOAD, "autoscaling": HPA, "service": SERVICE},
    "etl": {**WORKLOAD, "autoscaling": KEDA},
    "migrate": {**POD, "secondsMax": {"type": "integer", "minimum": 10, "maximum": 86_400}},
}
COMMON: Schema = {
    "global": OBJECT,
    "fullname": {"type": "string", "pattern": "^([a-z][a-z0-9-]{0,38}[a-z0-9])?$"},
    "image": closed(
        {"repository": TEXT, **IMAGE, "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]}}, "repository"
    ),
    "imagePullSecrets": {"type": "array", "items": closed({"name": NAME}, "name")},
    "ipv6": FLAG,
    "podSecurityContext": OBJECT,
    "securityContext": OBJECT,
    "networkPolicy": closed(
        {
            "enabled": FLAG,
            "gatewayFrom": LIST,
            "ingestFrom": LIST,
            "prometheusFrom": LIST,
            "kafka": closed({"to": LIST, "ports": PORTS}),
            "clickhouse": closed({"to": LIST, "ports": PORTS}),
            "extraEgress": closed(dict.fromkeys(OWN, LIST)),
        }
    ),
    "monitoring": closed(
        {
            "serviceMonitors": closed(
                {"enabled": FLAG, "labels": TEXTS, "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"}}
            ),
            "rules": closed({"enabled": FLAG, "labels": TEXTS, "documentation": TEXT}),
            "dashboards": closed({"enabled": FLAG, "labels": TEXTS, "annotations": TEXTS}),
        }
    ),
    "strimzi": closed(
        {
            "enabled": FLAG,
            "apiVersion": TEXT,
            "cluster": TEXT,
            "topic": FLAG,
            "users": closed(
                {
                    "enabled": FLAG,
                    "authentication": {"enum": ["scram-sha-512", "tls"]},
                    "producerBytesPerSecond": {"type": "integer", "minimum": 0},
                }
            ),
        }
    ),
}


def values_schema() -> str:
    """Return the text of values.schema.json."""
    definitions: Schema = {"secret": IN_SECRET, "file": FILE}
    for process in PROCESSES.values():
        for name, field in process.fields():
            definitions[variable_of(name)] = setting_schema(name, field)
    every = list(PROCESSES.values())
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated from the settings classes by deploy/helm: run `make chart` after a change.",
        **closed(
            {
                **COMMON,
                **given(every),
                **{key: closed({**OWN[key], **given([process])}) for key, process in PROCESSES.items()},
            }
        ),
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def given(processes: list[ChartProcess]) -> Schema:
    """Return the three ways to give settings, with the settings of these processes that can be given so."""
    plain, secret, files = set(), set(), set()
    for process in processes:
        for name, field in process.fields():
            variable = variable_of(name)
            if not is_secret(field):
                plain.add(variable)
            if is_file(name, field):
                files.add(variable)
            elif is_text(field):
                secret.add(variable)
    return {
        "settings": closed({name: {"$ref": f"#/$defs/{name}"} for name in sorted(plain)}),
        "secretSettings": closed({name: {"$ref": "#/$defs/secret"} for name in sorted(secret)}),
        "files": closed({name: {"$ref": "#/$defs/file"} for name in sorted(files)}),
    }
