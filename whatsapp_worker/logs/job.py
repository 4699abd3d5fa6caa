"""The one line that is written for every settled delivery."""

import logging
from typing import assert_never

from whatsapp_worker.errors import JobError
from whatsapp_worker.masking import mask_phone
from whatsapp_worker.outcome import (
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

KEY_DIGITS = 32
"""Digits of the ledger key that are shown: enough to be unique, and never taken for a phone."""
LONGEST_ID = 128
"""Characters of a publisher's message id that are shown."""

log = logging.getLogger("whatsapp_worker.job")


def observe(record: Record) -> None:
    """Write the line of a settled delivery; LOGGING.md has its fields."""
    level = logging.INFO if isinstance(record.outcome, Sent | Duplicate) else logging.WARNING
    if not log.isEnabledFor(level):
        return
    name, sentence, told = _tell(record.outcome)
    fields = {"message": sentence, "event": "job", "outcome": name, **told, **_facts(record)}
    line = {name: value for name, value in fields.items() if value not in (None, "")}
    # Not by `log.log`, which would look for the line of code that calls it: always this one.
    log.handle(log.makeRecord(log.name, level, __file__, 0, line, (), None))


def _facts(record: Record) -> dict[str, object]:
    """What is known of the delivery, whatever became of it."""
    delivery, envelope = record.delivery, record.envelope
    return {
        "duration_seconds": round(record.seconds, 3),
        "user_id": str(envelope.user_id) if envelope else None,
        "recipient": mask_phone(envelope.destination) if envelope else None,
        "message_id": (delivery.message_id or "")[:LONGEST_ID],
        "redelivered": delivery.redelivered,
        "trace_id": delivery.trace_id,
    }


def _tell(outcome: Outcome) -> tuple[str, str, dict[str, object]]:
    """Return an outcome's name, the sentence for a person, and the fields that go with it."""
    match outcome:
        case Sent(job, whatsapp_id):
            return "sent", "job sent", {**_job(job), "whatsapp_id": whatsapp_id}
        case Duplicate(Superseded(job)):
            return "duplicate", "stale copy of a job dropped: a newer one exists", _job(job)
        case Duplicate(claim):
            return "duplicate", "duplicate of a job dropped: it was sent before", _job(claim.job)
        case Retry(job, error, attempt, _, delay):
            fields = _job(job, attempt) | _error(error) | {"retry_in_seconds": round(delay, 1)}
            return "retry", f"job failed, next try in {delay:.1f} s: {error.detail}", fields
        case DeadLetter(job, error, attempts):
            fields = _job(job, attempts) | _error(error)
            return "dead_letter", f"job dead-lettered: {error.detail}", fields
        case Reject(error):
            return "reject", f"message dead-lettered, no job: {error.detail}", _error(error)
        case _:
            assert_never(outcome)


def _job(job: Job, attempt: int | None = None) -> dict[str, object]:
    return {
        "attempt": job.attempt if attempt is None else attempt,
        "unknown_count": job.unknown_count,
        "job_key": job.key[:KEY_DIGITS],
    }


def _error(error: JobError) -> dict[str, object]:
    return {"error_type": str(error.error_type), "error_detail": error.detail}
