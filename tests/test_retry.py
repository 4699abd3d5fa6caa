"""Every failure leads to exactly one bounded decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_worker.errors import ErrorType, InDoubt, JobError, Refused, Throttled, Transient
from whatsapp_worker.outcome import DeadLetter, Job, Retry
from whatsapp_worker.retry import JITTER, MAX_UNKNOWN, RetryPolicy
from whatsapp_worker.settings import OnUnknown

RUNGS = (5.0, 30.0, 120.0)


def policy(on_unknown: OnUnknown = OnUnknown.RESEND, random: float = 0.0) -> RetryPolicy:
    return RetryPolicy(RUNGS, max_attempts=4, on_unknown=on_unknown, random=lambda: random)


def transient() -> Transient:
    return Transient(ErrorType.SERVER_ERROR, "WhatsApp answered 503")


@pytest.mark.parametrize(("attempt", "rung"), [(0, 5.0), (1, 30.0), (2, 120.0)])
def test_climbs_one_rung_per_failed_attempt(attempt: int, rung: float) -> None:
    job, error = Job("k", attempt), transient()
    assert policy().judge(error, job) == Retry(job, error, attempt + 1, rung, rung)


def test_stays_on_the_last_rung_when_there_are_more_attempts_than_rungs() -> None:
    patient = RetryPolicy(RUNGS, max_attempts=10, on_unknown=OnUnknown.RESEND, random=lambda: 0.0)
    outcome = patient.judge(transient(), Job("k", 7))
    assert isinstance(outcome, Retry)
    assert outcome.rung == RUNGS[-1]


def test_gives_up_when_the_attempts_are_used_up() -> None:
    job, error = Job("k", 3), transient()
    assert policy().judge(error, job) == DeadLetter(job, error, 4)


def test_never_retries_what_whatsapp_refused() -> None:
    job, error = Job("k"), Refused(ErrorType.NOT_ON_WHATSAPP, "no account")
    assert policy().judge(error, job) == DeadLetter(job, error, 1)


def test_starts_one_rung_up_when_whatsapp_asks_for_patience() -> None:
    outcome = policy().judge(Throttled(ErrorType.THROTTLED, "429"), Job("k"))
    assert isinstance(outcome, Retry)
    assert (outcome.rung, outcome.attempt) == (30.0, 1)


def test_jitter_shortens_the_wait_by_its_share_at_most() -> None:
    outcome = policy(random=1.0).judge(transient(), Job("k"))
    assert isinstance(outcome, Retry)
    assert outcome.delay == pytest.approx(5.0 * (1 - JITTER))


def test_sends_a_job_in_doubt_once_more_without_counting_an_attempt() -> None:
    job, error = Job("k", 2, unknown_count=1), InDoubt("no answer")
    outcome = policy().judge(error, job)
    assert outcome == Retry(job, error, 2, 120.0, 120.0)


def test_gives_up_a_job_that_is_in_doubt_again() -> None:
    job, error = Job("k", unknown_count=MAX_UNKNOWN + 1), InDoubt("no answer")
    assert policy().judge(error, job) == DeadLetter(job, error, 0)


def test_parks_a_job_in_doubt_at_once_when_told_to() -> None:
    job, error = Job("k", unknown_count=1), InDoubt("no answer")
    assert policy(OnUnknown.PARK).judge(error, job) == DeadLetter(job, error, 0)


@given(
    error=st.sampled_from(
        [
            transient(),
            Throttled(ErrorType.THROTTLED, "x"),
            InDoubt("x"),
            Refused(ErrorType.REFUSED, "x"),
        ]
    ),
    attempt=st.integers(0, 1000),
    unknown=st.integers(0, 5),
    random=st.floats(0, 1, exclude_max=True),
    on_unknown=st.sampled_from(OnUnknown),
)
def test_judges_everything_within_its_bounds(
    error: JobError, attempt: int, unknown: int, random: float, on_unknown: OnUnknown
) -> None:
    outcome = policy(on_unknown, random).judge(error, Job("k", attempt, unknown))
    if isinstance(outcome, Retry):
        assert outcome.rung in RUNGS
        assert outcome.rung * (1 - JITTER) <= outcome.delay <= outcome.rung
        assert outcome.attempt in {attempt, attempt + 1}
        assert outcome.attempt < 4 or isinstance(error, InDoubt)
    else:
        assert outcome.error is error
