"""What is counted, under which names, and what is never shown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder

from whatsapp_worker import __version__
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, InDoubt, Invalid, PauseReason, Transient
from whatsapp_worker.metrics import Metrics
from whatsapp_worker.outcome import (
    AlreadySent,
    DeadLetter,
    Duplicate,
    Job,
    Outcome,
    Record,
    Reject,
    Retry,
    Sent,
    Superseded,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
JOB = Job("a" * 64)
WORKER = {"worker": "whatsapp-worker"}
TRANSIENT = Transient(ErrorType.NETWORK, "the connection broke")


class Counted:
    """Metrics of their own registry, and what they show."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(
            self.registry,
            queue="whatsapp.queue",
            dead_letter_queue="whatsapp.queue.failed",
            whatsapp_states=("starting", "online"),
            clock=NOW.timestamp,
        )
        self._before = self._samples()

    def observe(self, outcome: Outcome, seconds: float = 0.2, **delivery: Any) -> None:
        self.metrics.observe(Record(Delivery(b"{}", **delivery), outcome, seconds))

    def moved(self) -> dict[str, float]:
        """What has changed, without the process's own metrics and the histograms' buckets."""
        now = self._samples()
        return {
            name: value - self._before.get(name, 0.0)
            for name, value in now.items()
            if value != self._before.get(name, 0.0) and "_bucket" not in name
        }

    def _samples(self) -> dict[str, float]:
        return {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if not sample.name.startswith(("process_", "python_"))
        }


DURATION = {
    "worker_job_duration_seconds_count whatsapp-worker": 1.0,
    "worker_job_duration_seconds_sum whatsapp-worker": 0.2,
}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Sent(JOB, "id"), {"worker_jobs_processed_total whatsapp-worker success": 1}),
        (
            Duplicate(AlreadySent(JOB)),
            {
                "worker_jobs_processed_total whatsapp-worker duplicate": 1,
                "worker_duplicates_suppressed_total sent_before": 1,
            },
        ),
        (
            Duplicate(Superseded(JOB)),
            {
                "worker_jobs_processed_total whatsapp-worker duplicate": 1,
                "worker_duplicates_suppressed_total stale": 1,
            },
        ),
        (
            Retry(JOB, TRANSIENT, 1, 5, 4.5),
            {"worker_jobs_retried_total whatsapp-worker": 1},
        ),
        (
            Retry(JOB, InDoubt("no answer"), 0, 5, 4.5),
            {"worker_jobs_retried_total whatsapp-worker": 1, "whatsapp_sends_in_doubt_total": 1},
        ),
        (
            DeadLetter(JOB, TRANSIENT, 6),
            {
                "worker_jobs_processed_total whatsapp-worker failed": 1,
                "worker_jobs_failed_total whatsapp-worker network": 1,
            },
        ),
        (
            DeadLetter(JOB, InDoubt("no answer"), 1),
            {
                "worker_jobs_processed_total whatsapp-worker failed": 1,
                "worker_jobs_failed_total whatsapp-worker unknown_outcome": 1,
                "whatsapp_sends_in_doubt_total": 1,
            },
        ),
        (
            Reject(Invalid(ErrorType.MALFORMED, "not JSON")),
            {
                "worker_jobs_processed_total whatsapp-worker failed": 1,
                "worker_jobs_failed_total whatsapp-worker malformed": 1,
            },
        ),
    ],
)
def test_counts_each_outcome_once_and_nothing_else(
    outcome: Outcome, expected: dict[str, float]
) -> None:
    counted = Counted()
    counted.observe(outcome)
    assert counted.moved() == {**expected, **DURATION}


def test_every_label_value_exists_from_the_start_at_zero() -> None:
    registry = Counted().registry
    for status in ("success", "failed", "duplicate"):
        labels = {**WORKER, "status": status}
        assert registry.get_sample_value("worker_jobs_processed_total", labels) == 0
    for error_type in ErrorType:
        labels = {**WORKER, "error_type": error_type}
        assert registry.get_sample_value("worker_jobs_failed_total", labels) == 0
    for reason in PauseReason:
        assert registry.get_sample_value("worker_paused", {"reason": reason}) == 0
    for kind in ("sent_before", "stale"):
        assert registry.get_sample_value("worker_duplicates_suppressed_total", {"kind": kind}) == 0
    for state in ("starting", "online"):
        assert registry.get_sample_value("whatsapp_state", {"state": state}) == 0
    assert registry.get_sample_value("worker_jobs_retried_total", WORKER) == 0
    assert registry.get_sample_value("worker_build_info", {"version": __version__}) == 1


@pytest.mark.parametrize(
    ("age", "seen"),
    [
        (timedelta(minutes=2), 120),
        (timedelta(seconds=-30), 0),
        (timedelta(seconds=-61), None),
        (timedelta(days=91), None),
    ],
)
def test_takes_the_age_of_ended_jobs_unless_the_publishers_clock_is_absurd(
    age: timedelta, seen: float | None
) -> None:
    counted = Counted()
    counted.observe(Sent(JOB, "id"), timestamp=NOW - age)
    counted.observe(DeadLetter(JOB, TRANSIENT, 6), timestamp=(NOW - age).replace(tzinfo=None))
    moved = counted.moved()
    assert moved.get("worker_job_age_seconds_count") == (None if seen is None else 2)
    assert moved.get("worker_job_age_seconds_sum") == (seen * 2 if seen else None)


def test_takes_no_age_where_none_is_told_and_of_no_job_that_goes_on() -> None:
    counted = Counted()
    counted.observe(Sent(JOB, "id"))
    counted.observe(Retry(JOB, TRANSIENT, 1, 5, 4.5), timestamp=NOW)
    counted.observe(Duplicate(AlreadySent(JOB)), timestamp=NOW)
    assert "worker_job_age_seconds_count" not in counted.moved()


def test_counts_deliveries_that_came_again() -> None:
    counted = Counted()
    counted.observe(Sent(JOB, "id"), redelivered=True)
    assert counted.moved()["worker_deliveries_redelivered_total"] == 1


def test_has_the_buckets_of_the_worker_before_it_and_two_above() -> None:
    text = generate_latest(Counted().registry).decode()
    buckets = [
        line.split('le="')[1].split('"')[0]
        for line in text.splitlines()
        if line.startswith("worker_job_duration_seconds_bucket")
    ]
    assert [float(bucket) for bucket in buckets] == [
        0.01,
        0.05,
        0.1,
        0.25,
        0.5,
        1,
        2.5,
        5,
        10,
        30,
        60,
        120,
        float("inf"),
    ]  # fmt: skip  A scale.


def test_shows_queue_depths_only_while_they_are_known() -> None:
    counted = Counted()
    work, dead = {"queue_name": "whatsapp.queue"}, {"queue_name": "whatsapp.queue.failed"}

    def shown() -> list[float | None]:
        value = counted.registry.get_sample_value
        return [
            value("queue_depth", work),
            value("queue_dlq_size", dead),
            value("worker_queue_probe_success"),
        ]

    assert shown() == [None, None, 0]
    counted.metrics.depths(7, 2)
    assert shown() == [7, 2, 1]
    counted.metrics.depths(8, None)
    assert shown() == [8, None, 0]
    counted.metrics.depths(None, None)
    assert shown() == [None, None, 0]
    counted.metrics.depths(0, 0)
    assert shown() == [0, 0, 1]


def test_shows_how_the_broker_whatsapp_and_the_worker_are_doing() -> None:
    counted = Counted()
    counted.metrics.broker_connected(True)
    counted.metrics.whatsapp_state("starting")
    counted.metrics.whatsapp_state("online")
    counted.metrics.paused(PauseReason.LEDGER, True)
    counted.metrics.paused(PauseReason.WHATSAPP, True)
    counted.metrics.paused(PauseReason.WHATSAPP, False)
    counted.metrics.overdue_retries(3)
    assert counted.moved() == {
        "worker_broker_connected": 1,
        "whatsapp_state online": 1,
        "worker_paused ledger": 1,
        "worker_overdue_retries": 3,
    }
    counted.metrics.broker_connected(False)
    assert "worker_broker_connected" not in counted.moved()


def test_counts_each_way_back_to_the_broker_once_and_not_the_first_connection() -> None:
    counted = Counted()
    for connected in (False, False, True, True, False, False, True, True, False):
        counted.metrics.broker_connected(connected)
    assert counted.moved() == {"worker_broker_reconnects_total": 1}


def shown_in_openmetrics(registry: CollectorRegistry) -> str:
    encode, _ = choose_encoder("application/openmetrics-text")
    return encode(registry).decode()


def test_carries_the_trace_id_of_a_job_where_the_scraper_can_read_it() -> None:
    counted = Counted()
    counted.observe(Sent(JOB, "id"), trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    exemplar = '# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.2'
    assert exemplar in shown_in_openmetrics(counted.registry)
    assert "trace_id" not in generate_latest(counted.registry).decode()


def test_shows_the_process_and_no_creation_times() -> None:
    text = generate_latest(Counted().registry).decode()
    assert "_created" not in text
    assert "process_resident_memory_bytes" in text
    assert "python_gc_objects_collected_total" in text
    assert "python_info" in text


def test_helps_are_sentences() -> None:
    for metric in Counted().registry.collect():
        if not metric.name.startswith(("process_", "python_")):
            assert metric.documentation[0].isupper()
            assert metric.documentation.endswith(".")
