"""The one line that a settled delivery gets."""

import io

import pytest

from tests.support.logs import (
    BOTH,
    JOB,
    OUTCOMES,
    PHONE,
    TEXT,
    TRACE,
    USER,
    logging_to,
    record,
    written,
)
from whatsapp_worker import logs
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.outcome import (
    Record,
    Reject,
)
from whatsapp_worker.settings import Environment


@pytest.mark.parametrize("case", OUTCOMES)
def test_writes_exactly_one_line_for_a_settled_job(case: str) -> None:
    outcome, level, sentence, own = OUTCOMES[case]
    with logging_to(io.StringIO()) as stream:
        logs.observe(record(outcome, redelivered=True))
    (line,) = written(stream)
    assert (line["level"], line["message"]) == (level, sentence)
    assert own.items() <= line.items()
    common = {
        "logger": "whatsapp_worker.job",
        "event": "job",
        "outcome": {"sent_before": "duplicate", "stale": "duplicate"}.get(case, case),
        "unknown_count": 1,
        "job_key": JOB.key[:32],
        "duration_seconds": 0.412,
        "user_id": str(USER),
        "recipient": "***1234",
        "message_id": "order-17",
        "redelivered": True,
        "trace_id": TRACE,
    }
    assert common.items() <= line.items()


def test_leaves_out_of_a_rejected_messages_line_what_is_not_known() -> None:
    invalid = Invalid(ErrorType.MALFORMED, "the body is not JSON")
    with logging_to(io.StringIO()) as stream:
        logs.observe(Record(Delivery(b"{"), Reject(invalid), 0.001))
    (line,) = written(stream)
    assert set(line) == {
        "timestamp",
        "level",
        "logger",
        "message",
        "service",
        "version",
        "env",
        "event",
        "outcome",
        "error_type",
        "error_detail",
        "duration_seconds",
        "redelivered",
    }  # fmt: skip  A set of names.
    assert (line["level"], line["outcome"]) == ("WARNING", "reject")
    assert line["message"] == "message dead-lettered, no job: the body is not JSON"


@BOTH
@pytest.mark.parametrize("case", OUTCOMES)
def test_a_jobs_line_shows_neither_text_nor_number(case: str, env: Environment) -> None:
    with logging_to(io.StringIO(), env=env) as stream:
        logs.observe(record(OUTCOMES[case][0], message_id=f"{PHONE}-{'x' * 500}"))
    assert TEXT not in stream.getvalue()
    assert PHONE not in stream.getvalue()
    assert "x" * 129 not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
