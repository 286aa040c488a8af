"""The processes of the chart: their settings classes, and how long each may take to end after SIGTERM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic.fields import FieldInfo

from common.settings import Settings, variable_of
from common.settings_reference import default_of, names_of
from common.tracing import END_SECONDS_MAX
from common.workers.process import MARGIN_SECONDS
from db.settings import MigrateSettings
from etl.loader import STOP_SECONDS_MAX
from etl.settings import EtlSettings
from gateway.settings import GatewaySettings
from services.ingest.settings import IngestSettings

# A process is killed later than its own limits add up to by so many seconds.
SPARE_SECONDS = 3.0
# Files that a process writes, which no Secret can hold.
WRITTEN = {"etl_alive_file"}


class ChartProcess(NamedTuple):
    """One process: its settings, and the limits that add up to the longest time that it takes to end.

    `stop_settings` are names of its settings in seconds, `stop_seconds` the constants of the code beside them.
    """

    settings: type[Settings]
    stop_settings: tuple[str, ...] = ()
    stop_seconds: float = 0.0

    def fields(self) -> Iterator[tuple[str, FieldInfo]]:
        """Yield each setting's name and field, by name."""
        for name in sorted(names_of(self.settings)):
            yield name, self.settings.model_fields[name]


# With several workers, their parent kills those that take longer than their limits by MARGIN_SECONDS.
PROCESSES = {
    "ingest": ChartProcess(
        IngestSettings,
        ("ingest_drain_seconds", "ingest_stop_seconds_max", "ingest_delivery_seconds_max"),
        MARGIN_SECONDS + END_SECONDS_MAX + SPARE_SECONDS,
    ),
    "gateway": ChartProcess(
        GatewaySettings,
        ("gateway_drain_seconds", "gateway_stop_seconds_max"),
        MARGIN_SECONDS + END_SECONDS_MAX + SPARE_SECONDS,
    ),
    "etl": ChartProcess(EtlSettings, ("etl_kafka_seconds_max",), STOP_SECONDS_MAX + END_SECONDS_MAX + SPARE_SECONDS),
    "migrate": ChartProcess(MigrateSettings, ("migrate_wait_seconds_max",), SPARE_SECONDS),
}


def is_file(name: str, field: FieldInfo) -> bool:
    """Whether a setting names a file that the process reads, which the chart can mount."""
    is_path = field.annotation is Path or Path in get_args(field.annotation)
    return (is_path or name.endswith("_file")) and name not in WRITTEN


def facts() -> dict[str, object]:
    """Return what the templates have to know of the processes, by the names of the variables."""
    defaults = {
        variable_of(name): default_of(field)
        for process in PROCESSES.values()
        for name, field in process.fields()
        # A default that is computed belongs to the machine that computes it.
        if field.default_factory is None and field.default is not None
    }
    return {
        "defaults": defaults,
        "processes": {
            key: {
                "settings": [variable_of(name) for name, _ in process.fields()],
                "stop_settings": [variable_of(name) for name in process.stop_settings],
                "stop_seconds": process.stop_seconds,
            }
            for key, process in PROCESSES.items()
        },
    }
