"""What the worker counts, as Prometheus reads it; docs/METRICS.md explains each.

Names and labels that seed 003 has are kept exactly.  Every label value is out of a closed set and
starts at 0, so `rate()` sees the first failure; none is made of what a job holds.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import assert_never

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from whatsapp_worker import __version__
from whatsapp_worker.errors import ErrorType, InDoubt, JobError, PauseReason
from whatsapp_worker.outcome import (
    DeadLetter,
    Duplicate,
    Record,
    Reject,
    Retry,
    Sent,
    Superseded,
)

WORKER = "whatsapp-worker"
DURATIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds: the buckets of the worker this one replaces, and two more, as a send may take 90 s."""
AGES = (1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)
OLDEST = 90 * 24 * 3600
"""Seconds: an older timestamp is a mistake of the publisher's clock, not an age."""


class Metrics:
    """Everything that is counted.

    Args:
        registry: where the metrics are registered; each process (and each test) has its own.
        queue: name of the work queue.
        dead_letter_queue: name of the dead-letter queue.
        whatsapp_states: the closed set of states a WhatsApp session can be in.
        clock: the time of day in Unix seconds, to tell the age of a job.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        queue: str,
        dead_letter_queue: str,
        whatsapp_states: Iterable[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library leaves it so.
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._clock = clock
        self._jobs = _Jobs(registry)
        self._queues = _Queues(registry, queue, dead_letter_queue)
        self._states = _States(registry, whatsapp_states)
        _gauge(registry, "worker_build_info", "The version that runs; always 1.", "version").labels(
            __version__
        ).set(1)

    def observe(self, record: Record) -> None:
        """Count a settled delivery."""
        self._jobs.count(record, self._clock())

    def broker_connected(self, connected: bool) -> None:
        """Say whether RabbitMQ is connected; may be repeated, each way back is counted once."""
        self._states.tell_broker(connected)

    def whatsapp_state(self, state: str) -> None:
        """Say in which of its states the WhatsApp session is."""
        for name, gauge in self._states.whatsapp.items():
            gauge.set(name == state)

    def paused(self, reason: PauseReason, paused: bool) -> None:
        """Say whether no new work starts for this reason."""
        self._states.paused[reason].set(paused)

    def depths(self, ready: int | None, dead_letters: int | None) -> None:
        """Tell how many messages lie in the queues; None takes a number away: not known now."""
        self._queues.set(ready, dead_letters)

    def overdue_retries(self, overdue: int) -> None:
        """Tell how many retry copies should have come back and have not."""
        self._jobs.overdue.set(overdue)


class _Jobs:
    """What becomes of jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        processed = _counter(
            registry,
            "worker_jobs_processed_total",
            "Jobs that came to their end, by how they ended.",
            "worker",
            "status",
        )
        self.success, self.failed, self.duplicate = (
            processed.labels(WORKER, status) for status in ("success", "failed", "duplicate")
        )
        failures = _counter(
            registry,
            "worker_jobs_failed_total",
            "Jobs that ended in the dead-letter queue, by reason.",
            "worker",
            "error_type",
        )
        self.failures = {each: failures.labels(WORKER, each) for each in ErrorType}
        suppressed = _counter(
            registry,
            "worker_duplicates_suppressed_total",
            "Deliveries acknowledged without sending, by why: sent before, or a stale copy.",
            "kind",
        )
        self.sent_before, self.stale = (
            suppressed.labels(kind) for kind in ("sent_before", "stale")
        )
        self.retried = _counter(
            registry,
            "worker_jobs_retried_total",
            "Failed attempts that will be repeated later.",
            "worker",
        ).labels(WORKER)
        self.duration = Histogram(
            "worker_job_duration_seconds",
            "Time from taking a delivery up to having settled it, waiting for a turn included.",
            ["worker"],
            buckets=DURATIONS,
            registry=registry,
        ).labels(WORKER)
        self.age = Histogram(
            "worker_job_age_seconds",
            "Age of a job at its end, by the timestamp its publisher gave it.",
            buckets=AGES,
            registry=registry,
        )
        self.in_doubt = _counter(
            registry,
            "whatsapp_sends_in_doubt_total",
            "Sends that ended without an answer: the recipient may have the message or not.",
        )
        self.redelivered = _counter(
            registry,
            "worker_deliveries_redelivered_total",
            "Settled deliveries that RabbitMQ had handed out before.",
        )
        self.overdue = _gauge(
            registry,
            "worker_overdue_retries",
            "Retry copies that should have come back from their queue and have not.",
        )

    def count(self, record: Record, now: float) -> None:
        """Count a settled delivery; `now` in Unix seconds."""
        trace_id = record.delivery.trace_id
        exemplar = {"trace_id": trace_id} if trace_id else None
        self.duration.observe(record.seconds, exemplar)
        if record.delivery.redelivered:
            self.redelivered.inc()
        match record.outcome:
            case Sent():
                self.success.inc()
                self._observe_age(record.delivery.timestamp, now)
            case Duplicate(claim):
                self.duplicate.inc()
                (self.stale if isinstance(claim, Superseded) else self.sent_before).inc()
            case Retry(_, error):
                self.retried.inc()
                self._doubt(error)
            case DeadLetter(error=error) | Reject(error=error):
                self.failed.inc()
                self.failures[error.error_type].inc()
                self._doubt(error)
                self._observe_age(record.delivery.timestamp, now)
            case _:
                assert_never(record.outcome)

    def _doubt(self, error: JobError) -> None:
        if isinstance(error, InDoubt):
            self.in_doubt.inc()

    def _observe_age(self, timestamp: datetime | None, now: float) -> None:
        if timestamp is None:
            return
        given = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        age = now - given.timestamp()
        if -60 <= age <= OLDEST:  # Two machines' clocks may differ by some seconds.
            self.age.observe(max(age, 0.0))


class _Queues:
    """What lies in RabbitMQ, as far as it is known."""

    def __init__(self, registry: CollectorRegistry, queue: str, dead_letter_queue: str) -> None:
        self._names = (queue, dead_letter_queue)
        self._depths = (
            _gauge(registry, "queue_depth", "Messages ready in the work queue.", "queue_name"),
            _gauge(
                registry,
                "queue_dlq_size",
                "Messages in the dead-letter queue, waiting for a person.",
                "queue_name",
            ),
        )
        self._known = _gauge(
            registry,
            "worker_queue_probe_success",
            "Whether the queue depths are known now; without, they are left out.",
        )

    def set(self, ready: int | None, dead_letters: int | None) -> None:
        """Show the numbers that are known; a gauge without one has no sample, never an old one."""
        counts = (ready, dead_letters)
        for name, gauge, count in zip(self._names, self._depths, counts, strict=True):
            gauge.clear() if count is None else gauge.labels(name).set(count)
        self._known.set(None not in counts)


class _States:
    """How the worker and the two it depends on are doing."""

    def __init__(self, registry: CollectorRegistry, whatsapp_states: Iterable[str]) -> None:
        self._broker = _gauge(
            registry, "worker_broker_connected", "Whether RabbitMQ is connected: 1 or 0."
        )
        self._reconnects = _counter(
            registry,
            "worker_broker_reconnects_total",
            "Times RabbitMQ was seen connected again after it had been seen lost.",
        )
        self._broker_was: bool | None = None  # None: not connected so far.
        whatsapp = _gauge(
            registry,
            "whatsapp_state",
            "State of the WhatsApp session: 1 for the one it is in, 0 for all others.",
            "state",
        )
        self.whatsapp = {str(state): whatsapp.labels(state) for state in whatsapp_states}
        paused = _gauge(
            registry,
            "worker_paused",
            "Whether no new job starts for this reason: 1 or 0.",
            "reason",
        )
        self.paused = {reason: paused.labels(reason) for reason in PauseReason}

    def tell_broker(self, connected: bool) -> None:
        """Show whether RabbitMQ is connected, and count it if that is so again."""
        self._broker.set(connected)
        if connected and self._broker_was is False:
            self._reconnects.inc()
        if connected or self._broker_was is not None:  # The first connection is none again.
            self._broker_was = connected


def _counter(registry: CollectorRegistry, name: str, says: str, *labels: str) -> Counter:
    return Counter(name, says, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, says: str, *labels: str) -> Gauge:
    return Gauge(name, says, labels, registry=registry)
