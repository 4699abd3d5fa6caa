from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode
from pamqp.commands import Basic

from whatsapp_worker.amqp import copies
from whatsapp_worker.amqp.incoming import Origin, trace_id
from whatsapp_worker.errors import ErrorType, InDoubt, Invalid, JobError, Transient
from whatsapp_worker.outcome import DeadLetter, Job, Retry

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
JOB = Job(key="ab" * 32, attempt=2, unknown_count=1, first_seen=1_767_225_600.9)
NOW = 1_767_312_000.0
WHEN = datetime(2026, 1, 1, tzinfo=UTC)

EVERYTHING: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "gzip",
    "delivery_mode": 1,
    "priority": 9,
    "correlation_id": "c1",
    "reply_to": "somewhere",
    "expiration": "60000",
    "message_id": "m1",
    "timestamp": WHEN,
    "message_type": "invite",
    "user_id": "somebody",
    "app_id": "portal",
    "headers": {
        "traceparent": PARENT,
        "x-death": [{"count": 1}],
        "x-first-death-queue": "q",
        "x-last-death-queue": "q",
        "x-delivery-count": 3,
        "x-attempt": 9,
        "x-failed-at": "then",
        "x-job-key": "forged",
        "CC": ["everyone"],
        "BCC": ["secretly"],
        "anything": "else",
    },
}
KEPT = {
    "content_type": "application/json",
    "content_encoding": "gzip",  # Refused for it, it must not become acceptable by being moved.
    "correlation_id": "c1",
    "message_id": "m1",
    "message_type": "invite",
    "app_id": "portal",
    "timestamp": WHEN,
    "delivery_mode": 2,
}


def origin(**properties: Any) -> Origin:
    return Origin("woragis.notifications", Basic.Properties(**properties))


def described(copy: Basic.Properties) -> dict[str, Any]:
    return {name: value for name, value in copy if value not in (None, "") and name != "headers"}


def all_copies(source: Origin, error: JobError) -> list[Basic.Properties]:
    return [
        copies.retry_copy(source, Retry(JOB, error, 3, 30.0, 24.5)),
        copies.dead_letter_copy(source, DeadLetter(JOB, error, 3), "whatsapp.queue", NOW),
        copies.reject_copy(source, error, JOB.key, "whatsapp.queue", NOW),
        copies.replay_copy(source, JOB.key, "2026-01-02T00:00:00Z"),
    ]


def test_copies_inherit_the_publishers_properties_and_no_others() -> None:
    retry, *others = all_copies(origin(**EVERYTHING), Transient(ErrorType.NETWORK, "x"))
    assert described(retry) == KEPT | {"expiration": "24500"}
    assert [described(other) for other in others] == [KEPT] * 3


def test_a_retry_copy_says_whose_and_which_attempt() -> None:
    copy = copies.retry_copy(
        origin(**EVERYTHING), Retry(JOB, Transient(ErrorType.NETWORK, "x"), 3, 30.0, 24.5)
    )
    assert copy.headers == {"x-job-key": JOB.key, "x-attempt": 3, "traceparent": PARENT}


def test_a_dead_letter_says_why_and_carries_no_attempt() -> None:
    letter = DeadLetter(JOB, InDoubt("no answer came"), 4)
    assert copies.dead_letter_copy(origin(), letter, "whatsapp.queue", NOW).headers == {
        "x-job-key": JOB.key,
        "x-error-type": "unknown_outcome",
        "x-error-detail": "no answer came",
        "x-attempts": 4,
        "x-unknown-count": 1,
        "x-first-seen": "2026-01-01T00:00:00Z",
        "x-failed-at": "2026-01-02T00:00:00Z",
        "x-origin-queue": "whatsapp.queue",
    }


def test_a_rejected_message_was_never_tried() -> None:
    error = Invalid(ErrorType.MALFORMED, "not JSON")
    assert copies.reject_copy(origin(), error, None, "whatsapp.queue", NOW).headers == {
        "x-error-type": "malformed",
        "x-error-detail": "not JSON",
        "x-attempts": 0,
        "x-unknown-count": 0,
        "x-first-seen": "2026-01-02T00:00:00Z",
        "x-failed-at": "2026-01-02T00:00:00Z",
        "x-origin-queue": "whatsapp.queue",
    }


def test_a_replay_starts_again_at_attempt_zero() -> None:
    then = "2026-01-01T00:00:00Z"
    assert copies.replay_copy(origin(), JOB.key, then).headers == {
        "x-job-key": JOB.key,
        "x-failed-at": then,
    }
    assert copies.replay_copy(origin(), None, then).headers == {"x-failed-at": then}


@pytest.mark.parametrize("bad", [None, "nonsense", "00-" + "0" * 52, 5])
def test_only_a_valid_trace_is_passed_on(bad: object) -> None:
    copy = copies.replay_copy(origin(headers={"traceparent": bad}), None, "then")
    assert copy.headers == {"x-failed-at": "then"}


def test_a_copy_without_a_trace_goes_on_under_that_of_its_delivery() -> None:
    copy = copies.traced(copies.replay_copy(origin(), None, "then"), "ab" * 16)
    assert trace_id((copy.headers or {})["traceparent"]) == "ab" * 16
    own = copies.replay_copy(origin(headers={"traceparent": PARENT}), None, "then")
    assert (copies.traced(own, "ab" * 16).headers or {})["traceparent"] == PARENT


@given(st.text(min_size=900, max_size=3000))
def test_the_detail_is_cut_between_characters(detail: str) -> None:
    error = Invalid(ErrorType.MALFORMED, detail)
    headers = copies.reject_copy(origin(), error, None, "q", NOW).headers or {}
    cut = str(headers["x-error-detail"]).encode()
    assert len(cut) <= copies.MAX_DETAIL_BYTES
    assert detail.encode("utf-8", "replace").startswith(cut)


def test_headers_stay_small_whatever_came_in() -> None:
    hostile = EVERYTHING["headers"] | {f"h{number}": "x" * 100 for number in range(500)}
    error = Invalid(ErrorType.MALFORMED, "ü" * 100_000)
    source = origin(**EVERYTHING | {"headers": hostile})
    for copy in all_copies(source, error):
        assert len(encode.field_table(copy.headers or {})) <= copies.MAX_HEADER_BYTES
    long_queue = copies.dead_letter_copy(source, DeadLetter(JOB, error, 3), "q" * 255, NOW)
    assert len(encode.field_table(long_queue.headers or {})) <= copies.MAX_HEADER_BYTES


def test_a_delay_is_never_negative() -> None:
    copy = copies.retry_copy(origin(), Retry(JOB, InDoubt("x"), 0, 5.0, -0.5))
    assert copy.expiration == "0"
