"""Serves the live page: scrapes the processes once a second, and keeps the last minutes in memory."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.page_server import Answer, Page, serve_pages
from common.settings import Address
from local.live.history import History
from local.live.scraping import Scrape, scrape
from local.processes.errors import ProgramError
from local.settings import ROOT

SETTING = "UGC_LOCAL_STATUS_LISTEN"
SCRAPE_SECONDS = 1.0
# The points of the short document, which the page fetches each second after the whole one.
LATEST_POINTS = 15
STATIC = Path(__file__).parent / "static"
PAGE_PATH, HISTORY_PATH, LATEST_PATH = "/api/status", "/api/status.json", "/api/status/latest.json"
# The pages of the documentation to which the page links; served here, so that no other host is needed.
DOCUMENTS = ("docs/operating/monitoring.md", "docs/operating/runbook.md", "docs/reference/metrics.md")
# The files of the page by the end of their names; they are served below its path.
CONTENT_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
# The browser runs only what this listener serves, and asks no other host.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OFF = Scrape(None, "its management listener is off")


class LiveStatus:
    """The state of the processes, by name at the addresses of their management listeners; None for one that is off."""

    def __init__(self, processes: Mapping[str, Address | None]) -> None:
        self._processes = processes
        self._history = History()
        self._stopped = threading.Event()
        # What each process answered last, and since when that is so.
        self._states: dict[str, tuple[Scrape, float]] = {}

    @contextlib.contextmanager
    def serving(self, listen: Address | None) -> Iterator[Address | None]:
        """Scrape and serve the page in the block, at the yielded address; nothing when `listen` is None.

        ProgramError when the address cannot be used.
        """
        if listen is None:
            yield None
            return
        thread = threading.Thread(target=self._scrape_until_stopped, name="live status", daemon=True)
        try:
            server = serve_pages(listen, self.pages())
        except OSError as error:
            text = f"ugc-up cannot listen on {listen}: {error.strerror or error}; change {SETTING}"
            raise ProgramError(text) from error
        with server as address:
            thread.start()
            try:
                yield address
            finally:
                self._stopped.set()
                thread.join()

    def pages(self) -> dict[str, Page]:
        """Return the pages by their paths."""
        headers = (("Content-Security-Policy", POLICY),)
        files = [path for path in STATIC.iterdir() if path.suffix in CONTENT_TYPES]
        return {
            PAGE_PATH: lambda _accept: Answer((STATIC / "status.html").read_bytes(), HTML, headers=headers),
            **{f"{PAGE_PATH}/{path.name}": file_page(path, CONTENT_TYPES[path.suffix]) for path in files},
            HISTORY_PATH: lambda _accept: self.document(self._history.encoded()),
            LATEST_PATH: lambda _accept: self.document(self._history.encoded(LATEST_POINTS)),
            **{f"/{path}": file_page(ROOT / path, TEXT) for path in DOCUMENTS},
        }

    def document(self, points: str) -> Answer:
        """Return the states and the points as JSON."""
        states = [
            {
                "name": name,
                "answers": found.samples is not None,
                "problem": found.problem,
                "since": round(since, 1),
            }
            for name, (found, since) in list(self._states.items())
        ]
        text = f'{{"now":{time.time():.2f},"processes":{json.dumps(states)},"points":{points}}}'
        return Answer(text.encode(), JSON)

    def _scrape_until_stopped(self) -> None:
        with ThreadPoolExecutor(len(self._processes), "scrape") as pool:
            due = time.monotonic()
            while not self._stopped.wait(max(0.0, due - time.monotonic())):
                self.take(dict(zip(self._processes, pool.map(answer_of, self._processes.values()), strict=True)))
                due = max(due + SCRAPE_SECONDS, time.monotonic())

    def take(self, found: Mapping[str, Scrape], now: float | None = None) -> None:
        """Add what the processes answered."""
        moment = time.time() if now is None else now
        for name, answer in found.items():
            before = self._states.get(name)
            is_same = before is not None and state_of(before[0]) == state_of(answer)
            self._states[name] = answer, before[1] if before is not None and is_same else moment
        self._history.add(moment, found["ingest"].samples, found["etl"].samples)


def answer_of(address: Address | None) -> Scrape:
    """Ask a process."""
    return OFF if address is None else scrape(address)


def state_of(found: Scrape) -> tuple[bool, bool]:
    """Return whether a process answers, and whether it is ready."""
    return found.samples is not None, not found.problem


def file_page(path: Path, content_type: str) -> Page:
    """Return the page of a file, as it is when it is asked for."""
    return lambda _accept: Answer(path.read_bytes(), content_type)
