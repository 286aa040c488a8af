"""The management pages of a server with several workers, served by their parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias

from common.heartbeat import Heartbeat
from common.management import metrics_page, reason_page
from common.metrics import Metrics
from common.page_server import Answer, Page
from common.workers.asking import ask
from common.workers.merging import merged

# The value of the label `worker` in the metrics of the parent itself.
PARENT = "parent"
SILENT = Answer(b"does not answer\n")
NONE = "no worker serves\n"
Addresses: TypeAlias = Callable[[], Mapping[int, str | bytes]]


def worker_pages(addresses: Addresses, heartbeat: Heartbeat) -> dict[str, Page]:
    """Return the pages: the metrics of all processes, whether the parent lives, and whether any worker is ready.

    `addresses` returns where the workers listen that serve. One that does not answer in time is missing in the metrics.
    It makes the server neither unready, because the others serve, nor dead, because the parent replaces it.
    """
    own = metrics_page(Metrics())

    def metrics(accept: str) -> Answer:
        parent = own(accept)
        # All answer in the format that the request asks for.
        answers = {PARENT: parent, **by_number(ask(addresses(), "/metrics", accept))}
        texts = {worker: answer.body.decode() for worker, answer in answers.items()}
        return Answer(merged(texts).encode(), parent.content_type)

    def ready(_accept: str) -> Answer:
        running = addresses()
        found = ask(running, "/readyz")
        silent = dict.fromkeys(running, SILENT)
        is_ready = any(answer.status is HTTPStatus.OK for answer in found.values())
        lines = [f"worker {name}: {answer.body.decode()}" for name, answer in by_number(silent | found).items()]
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer("".join(lines or [NONE]).encode(), status=status)

    return {"/metrics": metrics, "/livez": reason_page(heartbeat.problem), "/readyz": ready}


def by_number(answers: Mapping[int, Answer]) -> dict[str, Answer]:
    """Return the answers in the order of the workers, by their names."""
    return {str(number): answers[number] for number in sorted(answers)}
