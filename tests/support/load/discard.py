"""A consumer with the etl's settings that discards all messages, to measure the cost of reading.

`python -m tests.support.load.discard BOOTSTRAP TOPIC GROUP COUNT` prints CPU seconds, and seconds from the first to the
last message.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Consumer

POLL_ROWS = 50_000
POLL_SECONDS = 0.1


def main() -> None:
    """Read COUNT messages and print the measurements."""
    bootstrap_servers, topic, group, count = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 65_536,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([topic])
    cpu, left, since, began_with = time.process_time(), int(count), 0.0, 0
    while left > 0:
        taken = len(consumer.consume(POLL_ROWS, POLL_SECONDS))
        left -= taken
        if taken and not since:
            since, began_with = time.monotonic(), taken
    seconds = time.monotonic() - since
    sys.stdout.write(f"{time.process_time() - cpu} {seconds} {int(count) - began_with}\n")
    consumer.close()


if __name__ == "__main__":
    main()
