"""Gives a process's clients of Kafka the password that its file has now."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from common.kafka_settings import KafkaSettings
from common.logs import hide_too, logger
from common.outage_log import OutageLog

CHECK_SECONDS = 1.0


class Client(Protocol):
    """A client of librdkafka."""

    def set_sasl_credentials(self, username: str, password: str, /) -> None:
        """Authenticate the next connections so; those that are open stay."""


@contextlib.contextmanager
def following_password(settings: KafkaSettings, clients: Callable[[], Iterable[Client]]) -> Iterator[None]:
    """Until the block ends, read the password's file once a second in a thread, and pass a new password to clients.

    `clients` returns those that are open. Without a password nothing is done.
    """
    if settings.kafka_sasl_password_file is None:
        yield
        return
    follower, ended = PasswordFollower(settings, clients), threading.Event()

    def follow() -> None:
        while not ended.wait(CHECK_SECONDS):
            follower.check()

    thread = threading.Thread(target=follow, name="kafka-password", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # Before the clients are closed.
        thread.join()


class PasswordFollower:
    """Compares the password in the file with the one that the clients have."""

    def __init__(self, settings: KafkaSettings, clients: Callable[[], Iterable[Client]]) -> None:
        self._file = settings.kafka_sasl_password_file
        self._username = settings.kafka_sasl_username or ""
        self._clients = clients
        # Nothing yet: the file may have changed between the start of the clients and now.
        self._password = ""
        self._given: list[Client] = []
        self._is_first = True
        self._outage = OutageLog("reading UGC_KAFKA_SASL_PASSWORD_FILE")

    def check(self) -> None:
        """Pass a new password to the clients, and the current one to a new client.

        A file that cannot be read changes nothing, and is logged.
        """
        assert self._file is not None  # noqa: S101 -- as following_password has seen
        try:
            password = self._file.read()
        except ValueError as error:
            self._outage.failed(error)
            return
        self._outage.over()
        # A client that was opened since the last check may have read the file before it was changed.
        is_changed, clients = password != self._password, list(self._clients())
        before = [] if is_changed else self._given
        if is_changed:
            hide_too(password)
        for client in clients:
            if not any(client is each for each in before):
                client.set_sasl_credentials(self._username, password)
        self._given = clients
        if is_changed and not self._is_first:
            logger().info("Kafka's password was read again", user=self._username)
        self._password, self._is_first = password, False
