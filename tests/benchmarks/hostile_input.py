"""What hostile input costs: CPU seconds and memory of gateway and ingest for each megabyte that is sent.

`python -m tests.benchmarks.hostile_input` starts Kafka, ingest and gateway and sends each input up to a megabyte, one
request after the other, with whatever refusals they get. A row is good when a megabyte sent costs at most one CPU
second and 100 MB more than as many single documented events: a request by itself has a cost, however small it is.
Each input comes from an address of its own. Of what is fetched, the bytes of the answers count too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from db.kafka.layout import TopicLayout
from db.kafka.topics import provision
from local.kafka.server import kafka_program
from local.processes.ports import free_port
from local.processes.program import running
from tests.support.benchmarks.report import THIS_PROJECT, Figure, Run
from tests.support.inputs.hostile_inputs import Input, over_grpc, over_http, reference
from tests.support.load.meter import cpu_seconds
from tests.support.processes.system import Deployment

TOPIC = "ugc.events"
LAYOUT = TopicLayout(partitions=1, replication_factor=1, min_insync_replicas=1, retention_hours=1)
NOT_IN_A_HEADER = str.maketrans(",", " ")
# A request's line, headers and framing.
HEAD_BYTES = 150
MEGABYTE = 1_000_000
REQUESTS_MAX, SECONDS_MAX = 300, 15.0
CALL_SECONDS_MAX = 60.0
CPU_SECONDS_OF_A_MEGABYTE_MAX, MEGABYTES_OF_A_MEGABYTE_MAX = 1.0, 100.0
# Written to /proc/PID/clear_refs, it makes the peak of memory the present use.
FORGET_PEAK = "5"
SETTLE_SECONDS = 0.3


@dataclass
class Row:
    """What one input cost: CPU seconds and megabytes of memory by process, and the answers.

    Each call of a frame is a request.
    """

    name: str
    requests: int
    sent: int
    cpu: dict[str, float]
    memory: dict[str, float]
    answers: Counter[str] = field(default_factory=Counter)

    def of_a_megabyte(self, of_a_request: float) -> float:
        """Return the CPU seconds of a megabyte, less what as many requests cost that are not hostile."""
        return max(0.0, sum(self.cpu.values()) - of_a_request * self.requests) / (self.sent / MEGABYTE)

    def is_good(self, of_a_request: float) -> bool:
        """Whether the costs are within the limits."""
        memory = max(self.memory.values()) / max(1.0, self.sent / MEGABYTE)
        return (
            self.of_a_megabyte(of_a_request) <= CPU_SECONDS_OF_A_MEGABYTE_MAX and memory <= MEGABYTES_OF_A_MEGABYTE_MAX
        )


@dataclass
class Meter:
    """Reads CPU and memory of processes around a series of requests."""

    processes: dict[str, int]

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each."""
        return {name: cpu_seconds(pid) for name, pid in self.processes.items()}

    def forget_peaks(self) -> dict[str, float]:
        """Begin to look for peaks; return the present memory of each."""
        for pid in self.processes.values():
            Path(f"/proc/{pid}/clear_refs").write_text(FORGET_PEAK)
        return {name: megabytes(pid, "VmRSS") for name, pid in self.processes.items()}

    def measure(self, one: Input, send: Sender) -> Row:
        """Send an input up to a megabyte and return what it cost."""
        before, memory = self.cpu(), self.forget_peaks()
        send.take_received()
        answers: Counter[str] = Counter()
        heads = sum(len(name) + len(value) + len(": \r\n") for name, value in one.headers)
        each, requests, began = one.sent + len(one.target) + HEAD_BYTES + heads, 0, time.monotonic()
        while requests * each < MEGABYTE and requests < REQUESTS_MAX and time.monotonic() - began < SECONDS_MAX:
            answers[send(one)] += 1
            requests += 1
        moved = requests * each + (send.take_received() if one.method == "GET" else 0)
        time.sleep(SETTLE_SECONDS)  # what the client does not wait for
        cpu = {name: after - before[name] for name, after in self.cpu().items()}
        peaks = {name: megabytes(pid, "VmHWM") - memory[name] for name, pid in self.processes.items()}
        return Row(one.name, requests * max(1, one.calls), moved, cpu, peaks, answers)


class Sender:
    """Sends one request after the other."""

    def __init__(self, deployment: Deployment) -> None:
        self._place = deployment
        self._http = self._connect()
        self._received = 0
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(deployment.ingest_address, options=options)

    def __call__(self, one: Input) -> str:
        """Send, and return the answer's status."""
        return self._call(one) if one.is_grpc else self._request(one)

    def take_received(self) -> int:
        """Return the bytes of the answers since the last time."""
        received, self._received = self._received, 0
        return received

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._place.gateway_port, timeout=CALL_SECONDS_MAX)

    def _request(self, one: Input) -> str:
        connection = self._http
        try:
            connection.putrequest(one.method, one.target, skip_accept_encoding=True)
            for name, value in (*one.headers, ("X-Forwarded-For", one.name.translate(NOT_IN_A_HEADER))):
                connection.putheader(name, value)
            if one.is_chunked:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(b"".join(b"1\r\n%c\r\n" % byte for byte in one.body) + b"0\r\n\r\n")
            else:
                connection.putheader("Content-Length", str(len(one.body)))
                connection.endheaders(one.body)
            answer = connection.getresponse()
            self._received += len(answer.read())
            return str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._http = self._connect()
            return type(error).__name__

    def _call(self, one: Input) -> str:
        if one.is_frame:
            return self._stream(one)
        compression = grpc.Compression.Gzip if one.is_gzip else None
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(one.target)
        try:
            call(one.body, metadata=one.headers, compression=compression, timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def _stream(self, one: Input) -> str:
        """Send one frame, and read the answers of all its calls."""
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(one.target)
        try:
            for frame in stream(iter([one.body]), timeout=CALL_SECONDS_MAX):
                self._received += len(frame)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


def main() -> None:
    """Send everything and print the table."""
    options = argparse.ArgumentParser(prog="hostile_input", description="What hostile input costs.")
    options.add_argument("--only", default="", help="a part of the names of the inputs to send")
    only = options.parse_args().only
    run, figures = Run("hostile_input"), list[Figure]()
    with tempfile.TemporaryDirectory(prefix="ugc-bench-") as folder, system(Path(folder)) as (meter, send):
        single = statistics.median(of_single_events(meter, send) for _round in range(3))
        say(f"one documented event costs {single * 1e3:.2f} CPU ms in both processes, {single / 5e-4:.1f} CPU s a MB\n")
        say(f"{'input':<52}{'requests':>9}{'MB sent':>9}{'CPU s/MB':>10}{'net':>8}{'MB more':>9}  answers")
        for one in [*over_http(), *over_grpc()]:
            if only in one.name:
                row = meter.measure(one, send)
                show(row, single)
                figures += figures_of(row, single)
    run.end(figures, options={"CPU ms of one documented event": f"{single * 1e3:.2f}"})


def of_single_events(meter: Meter, send: Sender) -> float:
    """Return the CPU seconds of one documented event."""
    row = meter.measure(reference(), send)
    return sum(row.cpu.values()) / row.requests


def figures_of(row: Row, single: float) -> list[Figure]:
    """Return the figures of one row."""
    cost, more = (row.of_a_megabyte(single),), (max(row.memory.values()),)
    return [
        Figure(row.name, THIS_PROJECT, "CPU of a megabyte sent, net", "s", cost),
        Figure(row.name, THIS_PROJECT, "more memory", "MB", more),
    ]


def show(row: Row, single: float) -> None:
    """Print one row."""
    megabytes_sent = row.sent / MEGABYTE
    raw = sum(row.cpu.values()) / megabytes_sent
    answers = ", ".join(f"{count} x {answer}" for answer, count in row.answers.items())
    verdict = "" if row.is_good(single) else "  TOO MUCH"
    say(
        f"{row.name:<52}{row.requests:>9}{megabytes_sent:>9.3f}{raw:>10.2f}{row.of_a_megabyte(single):>8.2f}"
        f"{max(row.memory.values()):>9.0f}  {answers}{verdict}"
    )


@contextlib.contextmanager
def system(folder: Path) -> Iterator[tuple[Meter, Sender]]:
    """Start Kafka, ingest and the gateway."""
    kafka_port = free_port()
    with running(kafka_program(folder / "kafka", kafka_port, free_port())):
        bootstrap = f"127.0.0.1:{kafka_port}"
        provision(
            bootstrap, TOPIC, TopicLayout(partitions=1, replication_factor=1, min_insync_replicas=1, retention_hours=1)
        )
        deployment = Deployment(folder, bootstrap, TOPIC, "clickhouse://none/none")
        with running(deployment.ingest()) as ingest, running(deployment.gateway()) as gateway:
            yield Meter({"ingest": ingest.process.pid, "gateway": gateway.process.pid}), Sender(deployment)


def megabytes(pid: int, name: str) -> float:
    """Return a line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1_024


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
