"""A real API server of Kubernetes with its etcd, and kubectl for it. Nothing runs the pods that it accepts."""

from __future__ import annotations

import contextlib
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local.processes.ports import free_port
from local.setup.kubernetes import TOOLS, api_server_folder

READY_SECONDS_MAX = 120
CALL_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class ApiServer:
    """The address of an API server, the token of an administrator, and the certificate that it presents."""

    url: str
    token: str
    certificate: Path

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run kubectl; the caller looks at its status."""
        access = ["--server", self.url, "--token", self.token, "--certificate-authority", str(self.certificate)]
        return subprocess.run(
            [str(TOOLS / "kubectl"), "--kubeconfig", "/dev/null", *access, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=CALL_SECONDS_MAX,
        )

    def apply(self, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Apply manifests on the server, which refuses unknown and repeated keys."""
        return self.kubectl("apply", "--server-side", "--validate=strict", f"--filename={path}", *options)

    def is_ready(self) -> bool:
        """Whether the server answers that it is ready."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=CALL_SECONDS_MAX) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False


@contextlib.contextmanager
def running_api_server(folder: Path) -> Iterator[ApiServer]:
    """Run etcd and an API server with their data and logs in a folder."""
    etcd_url, peer_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    port, token = free_port(), secrets.token_hex()
    certificates = folder / "certificates"
    certificates.mkdir()
    (folder / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\n', encoding="utf-8")
    key = generate_private_key(65_537, 2_048)
    account_key = certificates / "accounts.key"
    account_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    etcd = [
        "--name=test",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=test={peer_url}",
        "--unsafe-no-fsync",
    ]
    server = [
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={certificates}",
        f"--service-account-key-file={account_key}",
        f"--service-account-signing-key-file={account_key}",
        "--service-account-issuer=https://kubernetes.example",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]
    with running("etcd", etcd, folder), running("kube-apiserver", server, folder) as process:
        started = ApiServer(f"https://127.0.0.1:{port}", token, certificates / "apiserver.crt")
        await_ready(started, process, folder / "kube-apiserver.log")
        yield started


def await_ready(server: ApiServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server is ready; AssertionError with the end of its log when it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not (server.certificate.exists() and server.is_ready()):
        text = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
        assert process.poll() is None, f"the API server has ended: {text}"
        assert time.monotonic() < deadline, f"the API server is not ready after {READY_SECONDS_MAX} s: {text}"
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def running(program: str, options: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of the set-up, with its output in a log; stop it at the end."""
    with (folder / f"{program}.log").open("wb") as log:
        process = subprocess.Popen([str(api_server_folder() / program), *options], stdout=log, stderr=log, cwd=folder)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
