"""What tests of log lines share: jobs with every outcome, and the lines written about them."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import pytest

from whatsapp_worker import logs
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, InDoubt, Throttled
from whatsapp_worker.logs.configuration import LIBRARY_LEVELS
from whatsapp_worker.outcome import (
    AlreadySent,
    DeadLetter,
    Duplicate,
    Job,
    Outcome,
    Record,
    Retry,
    Sent,
    Superseded,
)
from whatsapp_worker.settings import Environment, Settings

PHONE = "5511987651234"
TEXT = "Your parcel waits behind the green door"
USER = UUID("550e8400-e29b-41d4-a716-446655440000")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
JOB = Job("6fdb987ade10ee88" * 4, attempt=2, unknown_count=1)
ENVELOPE = WhatsAppEnvelope.model_validate(
    {"user_id": str(USER), "text_message": TEXT, "destination": f"+{PHONE}"}
)
BOTH = pytest.mark.parametrize("env", list(Environment))


@contextmanager
def logging_to(stream: io.StringIO, **settings: Any) -> Iterator[io.StringIO]:
    """Logs configured as the worker does it, and put back as they were afterwards."""
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in LIBRARY_LEVELS]
    with ExitStack() as undo:
        undo.callback(setattr, root, "handlers", root.handlers)
        undo.callback(setattr, logging, "raiseExceptions", logging.raiseExceptions)
        undo.callback(logging.captureWarnings, False)
        for logger in (root, *libraries):
            undo.callback(logger.setLevel, logger.level)
        given = {"env": Environment.PRODUCTION, **settings}
        undo.enter_context(logs.configure(Settings(**given), stream=stream))
        yield stream


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines, read."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(outcome: Outcome, **delivery: Any) -> Record:
    """A settled delivery of TEXT."""
    given: dict[str, Any] = {"message_id": "order-17", "trace_id": TRACE, **delivery}
    return Record(Delivery(TEXT.encode(), **given), outcome, 0.41234, ENVELOPE)


def fail(error: Exception) -> None:
    """Raise, where only an expression fits."""
    raise error


OUTCOMES: dict[str, tuple[Outcome, str, str, dict[str, object]]] = {
    "sent": (
        Sent(JOB, "3EB0C0FFEE1234567890AB"),
        "INFO",
        "job sent",
        {"attempt": 2, "whatsapp_id": "3EB0C0FFEE1234567890AB"},
    ),
    "sent_before": (
        Duplicate(AlreadySent(JOB)),
        "INFO",
        "duplicate of a job dropped: it was sent before",
        {"attempt": 2},
    ),
    "stale": (
        Duplicate(Superseded(JOB)),
        "INFO",
        "stale copy of a job dropped: a newer one exists",
        {"attempt": 2},
    ),
    "retry": (
        Retry(JOB, Throttled(ErrorType.THROTTLED, "too fast"), 3, 30, 21.25),
        "WARNING",
        "job failed, next try in 21.2 s: too fast",
        {
            "attempt": 3,
            "error_type": "throttled",
            "error_detail": "too fast",
            "retry_in_seconds": 21.2,
        },
    ),
    "dead_letter": (
        DeadLetter(JOB, InDoubt("no answer"), 6),
        "WARNING",
        "job dead-lettered: no answer",
        {"attempt": 6, "error_type": "unknown_outcome", "error_detail": "no answer"},
    ),
}  # fmt: skip  One outcome per paragraph.
