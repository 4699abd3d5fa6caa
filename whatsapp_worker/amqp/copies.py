"""The properties that copies of a message carry: exactly what DESIGN 4 lists, and nothing else.

What is left out matters: `x-death` makes RabbitMQ take a copy for a cycle and drop it, `CC` makes
a second copy at once, and a foreign `user_id` is refused with 406 (all measured).
"""

from datetime import UTC, datetime

from pamqp.commands import Basic

from whatsapp_worker.amqp.incoming import (
    ATTEMPT,
    FAILED_AT,
    JOB_KEY,
    TRACE_PARENT,
    Origin,
    made_trace_parent,
    timestamp_of,
    trace_parent,
)
from whatsapp_worker.errors import JobError
from whatsapp_worker.outcome import DeadLetter, Retry

MAX_HEADER_BYTES = 8 * 1024
"""What the headers of a copy may take together: far below one AMQP frame (DESIGN 4)."""
MAX_DETAIL_BYTES = 1024
"""What `x-error-detail` may take (DESIGN 4)."""

PERSISTENT = 2

Headers = dict[str, str | int]


def retry_copy(origin: Origin, retry: Retry) -> Basic.Properties:
    """Make the copy that waits on a rung of the retry ladder and then comes back."""
    headers: Headers = {JOB_KEY: retry.job.key, ATTEMPT: retry.attempt}
    copy = _copy(origin, headers)
    copy.expiration = str(max(0, round(retry.delay * 1000)))
    return copy


def dead_letter_copy(
    origin: Origin, letter: DeadLetter, queue: str, now: float
) -> Basic.Properties:
    """Make the copy that lies in the dead-letter queue and says why.

    Args:
        origin: the message as it came.
        letter: why and after how many attempts.
        queue: the queue it came from.
        now: Unix seconds.
    """
    headers: Headers = {
        JOB_KEY: letter.job.key,
        **_reason(letter.error, queue, now),
        "x-attempts": letter.attempts,
        "x-unknown-count": letter.job.unknown_count,
        "x-first-seen": _time(letter.job.first_seen),
    }
    return _copy(origin, headers)


def reject_copy(
    origin: Origin, error: JobError, job_key: str | None, queue: str, now: float
) -> Basic.Properties:
    """Make the dead-letter copy of a message that no job could be made of."""
    headers: Headers = {
        **({JOB_KEY: job_key} if job_key else {}),
        **_reason(error, queue, now),
        "x-attempts": 0,
        "x-unknown-count": 0,
        "x-first-seen": _time(now),
    }
    return _copy(origin, headers)


def replay_copy(origin: Origin, job_key: str | None, failed_at: str) -> Basic.Properties:
    """Make the copy that an operator sends back to the work queue.

    It keeps `x-failed-at`, which tells the ledger that the job starts again at attempt 0, and
    carries no `x-attempt`.
    """
    return _copy(origin, {**({JOB_KEY: job_key} if job_key else {}), FAILED_AT: failed_at})


def traced(copy: Basic.Properties, trace_id: str) -> Basic.Properties:
    """Let a copy go on under the trace its delivery was logged under, if it came with none."""
    headers = dict(copy.headers or {})
    headers.setdefault(TRACE_PARENT, made_trace_parent(trace_id))
    copy.headers = headers
    return copy


def time_text(unix_seconds: float) -> str:
    """Write a time as people and scripts read it in a header: ISO 8601, UTC."""
    return _time(unix_seconds)


def _reason(error: JobError, queue: str, now: float) -> Headers:
    return {
        "x-error-type": str(error.error_type),
        "x-error-detail": _cut(error.detail),
        FAILED_AT: _time(now),
        "x-origin-queue": queue,
    }


def _copy(origin: Origin, headers: Headers) -> Basic.Properties:
    """Inherit what a copy may inherit.

    Every header above is bounded, and a valid `traceparent` is 55 characters, so the headers stay
    below MAX_HEADER_BYTES by construction; a test measures it.
    """
    given = origin.properties
    parent = trace_parent((given.headers or {}).get(TRACE_PARENT))
    return Basic.Properties(
        content_type=given.content_type,
        content_encoding=given.content_encoding,
        correlation_id=given.correlation_id,
        message_id=given.message_id,
        message_type=given.message_type,
        app_id=given.app_id,
        timestamp=timestamp_of(given),
        delivery_mode=PERSISTENT,
        headers={**headers, **({TRACE_PARENT: parent} if parent else {})},
    )


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:MAX_DETAIL_BYTES].decode("utf-8", "ignore")


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
