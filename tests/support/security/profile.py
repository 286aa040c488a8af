"""The compose file's profile `secure` on this machine: its secrets, and the environment of each of its services."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from local.settings import ROOT
from tests.support.cluster.compose import COMPOSE_FILE, defaults, on_loopback, services

PROFILE = "secure"
SCRIPT = ROOT / "deploy" / "secure" / "make_secrets.sh"
MOUNTED = "/run/secrets"
SECONDS_MAX = 60
# What one command makes, which git ignores.
SECRETS = "./secrets/"


def make_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that makes the secrets."""
    return subprocess.run(
        ["sh", str(SCRIPT), str(folder)], capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )


def services_with_secrets() -> list[str]:
    """Return the folder of each service that has one."""
    found = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"].values()
    volumes = [volume for service in found for volume in service.get("volumes", ()) if isinstance(volume, dict)]
    return [volume["source"] for volume in volumes if volume["target"] == MOUNTED]


@dataclass
class SecureProfile:
    """The services of the profile, with the secrets of a folder and addresses of this machine."""

    secrets: Path
    addresses: Mapping[str, str] = field(default_factory=dict)

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service as it has them in its container, with other paths and addresses."""
        found = services(COMPOSE_FILE.read_text(encoding="utf-8"), defaults(), PROFILE)[service].environment
        return {name: self.here(service, value) for name, value in found.items()}

    def here(self, service: str, text: str) -> str:
        """Return a text with the paths and addresses of this machine."""
        return on_loopback(text.replace(MOUNTED, str(self.folder(service))), self.addresses)

    def folder(self, service: str) -> Path:
        """Return the folder with the secrets of a service."""
        return self.secrets / service.removeprefix(f"{PROFILE}-")
