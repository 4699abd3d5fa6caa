"""The way of every message: delivery -> decode -> claim -> turn -> send -> settle -> record."""

import logging
from asyncio import TaskGroup
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import assert_never

from whatsapp_worker import outcome
from whatsapp_worker.delivery import Delivery, trace
from whatsapp_worker.envelope import Rules, WhatsAppEnvelope, decode
from whatsapp_worker.errors import InDoubt, Invalid, JobError, Unavailable
from whatsapp_worker.ports import Broker, Ledger, Pacer, Sender
from whatsapp_worker.retry import RetryPolicy

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The whole work of this daemon, given its collaborators."""

    broker: Broker
    ledger: Ledger
    pacer: Pacer
    sender: Sender
    retries: RetryPolicy
    rules: Rules
    observers: tuple[Callable[[outcome.Record], None], ...] = ()

    async def run(self) -> None:
        """Handle deliveries until they end, then finish what was begun."""
        async with TaskGroup() as tasks:
            await self.broker.consume(lambda delivery: tasks.create_task(self.handle(delivery)))

    async def handle(self, delivery: Delivery) -> None:
        """Take one delivery from start to finish; give it back if that has to wait too long."""
        if delivery.receipt.lost:
            return  # Its channel has ended, so it comes again.
        trace.set(delivery.trace_id)
        started = monotonic()
        while True:
            try:
                fate, envelope = await self._process(delivery)
                break
            except Unavailable:  # Nothing was lost or counted: later, go on where the ledger says.
                if not await self.pacer.hold(delivery):
                    await self.broker.give_back(delivery)
                    return
        record = outcome.Record(delivery, fate, monotonic() - started, envelope)
        for observe in self.observers:
            observe(record)

    async def _process(self, delivery: Delivery) -> tuple[outcome.Outcome, WhatsAppEnvelope | None]:
        envelope = None
        try:
            envelope = decode(delivery, self.rules)
            async with self.ledger.claim(delivery, envelope) as claim:
                fate = await self._attempt(delivery, claim, envelope)
                return await self.settle(delivery, fate), envelope
        except Invalid as error:
            return await self.settle(delivery, outcome.Reject(error)), envelope

    async def _attempt(
        self, delivery: Delivery, claim: outcome.Claim, envelope: WhatsAppEnvelope
    ) -> outcome.Outcome:
        match claim:
            case outcome.AlreadySent() | outcome.Superseded():
                return outcome.Duplicate(claim)
            case outcome.Unfinished(job, error):
                return self.retries.judge(error, job)
            case outcome.Doubtful(job):
                return await self._failed(job, InDoubt("the worker ended while it was sending"))
            case outcome.Fresh(job):
                async with self.pacer.turn(delivery):
                    return await self._send(job, envelope)
            case _:
                assert_never(claim)

    async def _send(self, job: outcome.Job, envelope: WhatsAppEnvelope) -> outcome.Outcome:
        await self.ledger.sending(job)
        try:
            whatsapp_id = await self.sender.send(envelope)
        except Unavailable:
            await self.ledger.unsent(job)
            raise
        except JobError as error:
            return await self._failed(job, error)
        except Exception as bug:  # The only catch-all: it may have been sent.
            log.exception("a bug in the sender")
            return await self._failed(job, InDoubt(f"a bug in the sender: {type(bug).__name__}"))
        return outcome.Sent(job, whatsapp_id)

    async def _failed(self, job: outcome.Job, error: JobError) -> outcome.Outcome:
        return self.retries.judge(error, await self.ledger.failed(job, error))

    async def settle(self, delivery: Delivery, fate: outcome.Outcome) -> outcome.Outcome:
        """Act on what was decided.  Nobody else acks, and an ack comes last."""
        match fate:
            case outcome.Sent(job, whatsapp_id):
                # Nothing waited since the turn ended: it comes before SENDING of the next job.
                await self.ledger.sent(job, whatsapp_id)
                await self.broker.ack(delivery)
            case outcome.Duplicate():
                await self.broker.ack(delivery)
            case outcome.Reject():
                await self.broker.reject(delivery, fate)
            case outcome.Retry():
                await self.broker.retry(delivery, fate)
                await self.ledger.retried(fate)
                await self.broker.ack(delivery)
            case outcome.DeadLetter():
                await self.broker.dead_letter(delivery, fate)
                await self.ledger.dead(fate)
                await self.broker.ack(delivery)
            case _:
                assert_never(fate)
        return fate
