"""Members of a consumer group, as Kafka's own tool shows them."""

from __future__ import annotations

import subprocess

from local.kafka.files import LIBRARIES

TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
TOOL_SECONDS_MAX = 60


def group_members(bootstrap: str, group: str) -> list[str]:
    """Return the ids of the members of a group, by the broker's account."""
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBRARIES}/*", TOOL, "--bootstrap-server", bootstrap]
    described = subprocess.run(
        [*command, "--describe", "--members", "--group", group],
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS_MAX,
        check=True,
    ).stdout
    lines = [line.split() for line in described.splitlines()]
    return [columns[1] for columns in lines if columns and columns[0] == group]
