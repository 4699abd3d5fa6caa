"""For tests of crashes: the process kills itself in one of the crash windows of DESIGN 6.

As in `tracing` the pipeline's collaborators are wrapped, only where it is wanted; ENV=production
refuses the setting.
"""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager as Context
from contextvars import ContextVar
from dataclasses import replace

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import JobError
from whatsapp_worker.outcome import Claim, DeadLetter, Job, Reject, Retry
from whatsapp_worker.pipeline import Pipeline
from whatsapp_worker.ports import Broker, Ledger, Sender
from whatsapp_worker.settings import Failpoint

__all__ = ["Failpoint", "arm"]

log = logging.getLogger(__name__)

Reached = Callable[[Failpoint], None]

_to_be_acked: ContextVar[bool] = ContextVar("to_be_acked", default=False)
"""Whether the delivery that the current task works on was sent just now."""


def _kill() -> None:
    """End this process as the kernel would: nothing is closed, flushed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(
    pipeline: Pipeline, failpoint: Failpoint | None, kill: Callable[[], None] = _kill
) -> Pipeline:
    """Return the same pipeline, but deadly where it reaches the failpoint.

    Args:
        pipeline: what is to be killed.
        failpoint: the crash window; None leaves the pipeline as it is.
        kill: ends the process.
    """
    if failpoint is None:
        return pipeline

    def reached(window: Failpoint) -> None:
        if window is failpoint:
            log.critical("FAILPOINT: %s is reached, so the worker kills itself", window)
            kill()

    return replace(
        pipeline,
        broker=_Broker(pipeline.broker, reached),
        ledger=_Ledger(pipeline.ledger, reached),
        sender=_Sender(pipeline.sender, reached),
    )


class _Sender:
    """A sender that tells when WhatsApp has answered; see ports.Sender."""

    def __init__(self, sender: Sender, reached: Reached) -> None:
        self._sender = sender
        self._reached = reached

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        try:
            whatsapp_id = await self._sender.send(envelope)
        except JobError:
            self._reached(Failpoint.FAILING)
            raise
        self._reached(Failpoint.TAKEN)
        return whatsapp_id


class _Ledger:
    """A ledger that tells what it has committed; see ports.Ledger."""

    def __init__(self, ledger: Ledger, reached: Reached) -> None:
        self._ledger = ledger
        self._reached = reached

    def claim(self, delivery: Delivery, envelope: WhatsAppEnvelope) -> Context[Claim]:
        return self._ledger.claim(delivery, envelope)

    async def sending(self, job: Job) -> None:
        self._reached(Failpoint.DELIVERED)
        await self._ledger.sending(job)
        self._reached(Failpoint.SENDING)

    async def unsent(self, job: Job) -> None:
        await self._ledger.unsent(job)

    async def sent(self, job: Job, whatsapp_id: str) -> None:
        await self._ledger.sent(job, whatsapp_id)
        _to_be_acked.set(True)
        self._reached(Failpoint.SENT)

    async def failed(self, job: Job, error: JobError) -> Job:
        counted = await self._ledger.failed(job, error)
        self._reached(Failpoint.FAILED)
        return counted

    async def retried(self, retry: Retry) -> None:
        await self._ledger.retried(retry)
        self._reached(Failpoint.RETRIED)

    async def dead(self, letter: DeadLetter) -> None:
        await self._ledger.dead(letter)
        self._reached(Failpoint.DEAD)


class _Broker:
    """A broker that tells what it has settled and confirmed; see ports.Broker."""

    def __init__(self, broker: Broker, reached: Reached) -> None:
        self._broker = broker
        self._reached = reached

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        await self._broker.consume(take)

    async def ack(self, delivery: Delivery) -> None:
        await self._broker.ack(delivery)
        if _to_be_acked.get():
            _to_be_acked.set(False)
            self._reached(Failpoint.ACKED)

    async def give_back(self, delivery: Delivery) -> None:
        await self._broker.give_back(delivery)

    async def reject(self, delivery: Delivery, reject: Reject) -> None:
        self._reached(Failpoint.REJECTING)
        await self._broker.reject(delivery, reject)
        self._reached(Failpoint.REJECTED)

    async def retry(self, delivery: Delivery, retry: Retry) -> None:
        await self._broker.retry(delivery, retry)
        self._reached(Failpoint.COPIED)

    async def dead_letter(self, delivery: Delivery, letter: DeadLetter) -> None:
        await self._broker.dead_letter(delivery, letter)
        self._reached(Failpoint.DEAD_LETTERED)
