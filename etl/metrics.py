"""The metrics of the etl, each declared once. Changed once a poll, batch or insert, never for a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from common.kafka_metrics import KafkaClientMetrics
from common.metrics import Metrics, Observations
from etl.events.rows import DUPLICATE, PARTITIONS_ADDED, REFUSED, UNDECODABLE
from etl.plan import EVENTS, REJECTED

# Partitions that have samples of their own; a topic rarely has more.
PARTITIONS_MAX = 1_000
# The reason of a row of `events`, and those of the rows of `rejected_events`.
ACCEPTED = "accepted"
REJECTIONS = UNDECODABLE, DUPLICATE, REFUSED, PARTITIONS_ADDED
# Poll: messages from Kafka's client, the callbacks of a rebalance included. Decode: messages to columns. Classify:
# duplicates, and probes of events with copies. Plan and commit: Kafka's answer to a commit. Insert: ClickHouse's answer
# to a block. Recover: a batch that may be stored in part. Wait for quiet: a former owner's inserts. Restore: the state
# of a partition after an assignment or a failure. Close: what a revocation finishes.
STAGES = ("poll", "decode", "classify", "plan", "insert", "commit", "recover", "wait_for_quiet", "restore", "close")
# Stored; refused for a value in the block; later than the plan's deadline; without acknowledgement; too large, or too
# slow for its replicas, so that parts of it are inserted.
OUTCOMES = STORED, REFUSED_INSERT, FENCED, FAILED, SPLIT = "stored", "refused", "fenced", "failed", "split"
# Waits for its first restoration, or is restored; waits for a former owner's inserts, or stores the rest of a batch;
# loads; failed and is retried; cannot go on without a person, for too many refused rows or a changed log.
STATES = RESTORING, RECOVERING, LOADING, FAILING, HALTED = "restoring", "recovering", "loading", "failing", "halted"
REBALANCES = ASSIGNED, REVOKED, LOST = "assigned", "revoked", "lost"
STAGE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
END_TO_END_BOUNDS = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400)
ROWS_BOUNDS = (1, 10, 100, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
BYTES_BOUNDS = tuple(4**power for power in range(5, 16))
# Numbers by a partition, and by a partition and its state.
ByPartition = Mapping[tuple[str, ...], float]


class Stage:
    """Measures a stage, as in `with metrics.decode:`; not nested in itself."""

    __slots__ = ("_began", "_durations", "_monotonic")

    def __init__(self, durations: Observations, monotonic: Callable[[], float]) -> None:
        self._durations = durations
        self._monotonic = monotonic
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = self._monotonic()

    def __exit__(self, *_error: object) -> None:
        self._durations.observe(self._monotonic() - self._began)


class EtlMetrics(Metrics):
    """The metrics of one process. The loop's thread changes them; those of inserts are changed where inserts run."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.monotonic = monotonic
        self._declare_rows()
        self._declare_stages()
        self._declare_inserts()
        self._declare_partitions()
        self._declare_process()
        self.kafka = KafkaClientMetrics(self)

    def ended(self, stage: str, began: float) -> None:
        """Note the end of a stage that took several turns, at the time at which it began by `monotonic`."""
        self._durations[stage].observe(self.monotonic() - began)

    def progressed(self) -> None:
        """Note that the loop makes progress."""
        self.loop.value = time.time()

    def _declare_rows(self) -> None:
        rows = self.counter(
            "ugc_etl_rows",
            "Messages that have become rows, by table and reason. The sum is the number of messages consumed.",
            table=(EVENTS, REJECTED),
            reason=(ACCEPTED, *REJECTIONS),
        )
        pairs = ((EVENTS, ACCEPTED), *((REJECTED, reason) for reason in REJECTIONS))
        self.rows = {pair: rows.child(*pair) for pair in pairs}
        refused = self.rows[REJECTED, REFUSED]
        self.counter("ugc_etl_refused_rows", "Events that ClickHouse has refused for a value in them.").reads(
            lambda: refused.value
        )
        self.batch_rows = self.histogram("ugc_etl_batch_rows", "Messages of a stored batch.", ROWS_BOUNDS).child()
        self.batch_bytes = self.histogram(
            "ugc_etl_batch_bytes", "Bytes of the messages of a stored batch.", BYTES_BOUNDS
        ).child()
        self.end_to_end = self.histogram(
            "ugc_etl_end_to_end_seconds",
            "Time from a message's timestamp, when ingest received the event, until ClickHouse has acknowledged it; "
            "that of the first message of each batch.",
            END_TO_END_BOUNDS,
        ).child()

    def _declare_stages(self) -> None:
        self.stages = self.histogram(
            "ugc_etl_stage_duration_seconds", "Duration of a stage of the etl's work.", STAGE_BOUNDS, stage=STAGES
        )
        self._durations = {name: self.stages.child(name) for name in STAGES}

        def stage(name: str) -> Stage:
            return Stage(self._durations[name], self.monotonic)

        self.poll, self.decode, self.plan, self.commit = stage("poll"), stage("decode"), stage("plan"), stage("commit")
        self.insert, self.close = stage("insert"), stage("close")

    def _declare_inserts(self) -> None:
        inserts = self.counter("ugc_etl_inserts", "Inserts into ClickHouse, by their outcome.", outcome=OUTCOMES)
        self.inserts = {outcome: inserts.child(outcome) for outcome in OUTCOMES}
        fenced = self.inserts[FENCED]
        self.counter("ugc_etl_fenced", "Inserts that ClickHouse has rejected after their plan's deadline.").reads(
            lambda: fenced.value
        )
        self.recoveries = self.counter(
            "ugc_etl_recoveries", "Batches that were found planned, or perhaps stored in part, and were completed."
        ).child()

    def _declare_partitions(self) -> None:
        partition: dict[str, tuple[str, ...] | int] = {"kafka_partition": PARTITIONS_MAX}
        self.lag = self.gauge(
            "ugc_etl_lag_messages", "Messages of an owned partition that ClickHouse has not acknowledged.", **partition
        )
        self.complete_through = self.gauge(
            "ugc_etl_complete_through_timestamp_seconds",
            "Time until which every event that ingest received is a row, for an owned partition.",
            **partition,
        )
        self.partition_state = self.gauge(
            "ugc_etl_partition_state", "Whether an owned partition is in a state: 1 or 0.", **partition, state=STATES
        )
        self.owned = self.gauge("ugc_etl_partitions_owned", "Partitions that the group has assigned to this process.")
        self.topic_partitions = self.gauge("ugc_etl_topic_partitions", "Partitions of the topic; 0 if not known yet.")
        rebalances = self.counter(
            "ugc_etl_rebalances", "Changes of the assignment of partitions, by their kind.", kind=REBALANCES
        )
        self.rebalances = {kind: rebalances.child(kind) for kind in REBALANCES}

    def _declare_process(self) -> None:
        self.joined = self.gauge("ugc_etl_joined", "Whether the process is a member of the consumer group: 1 or 0.")
        self.loop = self.gauge(
            "ugc_etl_loop_timestamp_seconds", "When the loop last made progress, or ClickHouse sent a packet to it."
        ).child()
        self.buffered = self.gauge("ugc_etl_buffered_bytes", "Memory of the messages that are not stored yet.")
        self.buffered_limit = self.gauge(
            "ugc_etl_buffered_bytes_limit", "Memory of messages at which no more are read (UGC_ETL_BUFFER_BYTES_MAX)."
        ).child()
