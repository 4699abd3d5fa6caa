"""What follows from a failure: the one place that decides it."""

from collections.abc import Callable
from dataclasses import dataclass

from whatsapp_worker.errors import InDoubt, JobError, Throttled, Transient
from whatsapp_worker.outcome import DeadLetter, Job, Retry
from whatsapp_worker.settings import OnUnknown

JITTER = 0.2
"""The share of a rung that jitter may take off.

A queue's head is waited for, so a shorter wait behind a longer one is late by at most this share.
"""

MAX_UNKNOWN = 1
"""How many sends without an answer one job may have and still be sent again (DESIGN 5)."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Judges failures.

    Args:
        rungs: the delays of the retry ladder in seconds, increasing.
        max_attempts: failed attempts after which a job is dead-lettered.
        on_unknown: what to do when nobody knows whether a message was sent.
        random: a number in [0, 1), for jitter.
    """

    rungs: tuple[float, ...]
    max_attempts: int
    on_unknown: OnUnknown
    random: Callable[[], float]

    def judge(self, error: JobError, job: Job) -> Retry | DeadLetter:
        """Decide about a job that failed with `error`, already counted in job.unknown_count."""
        if isinstance(error, InDoubt):
            if self.on_unknown is OnUnknown.PARK or job.unknown_count > MAX_UNKNOWN:
                return DeadLetter(job, error, job.attempt)
            return self._retry(job, error, job.attempt, step=job.attempt)
        failed = job.attempt + 1
        if not isinstance(error, Transient) or failed >= self.max_attempts:
            return DeadLetter(job, error, failed)
        # WhatsApp asked for patience: begin one rung up.
        return self._retry(job, error, failed, step=job.attempt + isinstance(error, Throttled))

    def _retry(self, job: Job, error: JobError, attempt: int, step: int) -> Retry:
        rung = self.rungs[min(step, len(self.rungs) - 1)]
        return Retry(job, error, attempt, rung, delay=rung * (1 - JITTER * self.random()))
