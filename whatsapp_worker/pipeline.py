"""The way of every message: delivery -> decode -> claim -> turn -> send -> settle -> record."""

import logging
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, assert_never

from whatsapp_worker.envelope import Rules, WhatsAppEnvelope, decode
from whatsapp_worker.errors import ErrorType, InDoubt, Invalid, JobError, Transient, Unavailable
from whatsapp_worker.outcome import (
    AlreadySent, Claim, Conflict, DeadLetter, Delivery, Doubtful, Duplicate, Fresh, Job, Outcome,
    Record, Reject, Retry, Sent, Superseded, Unfinished,
)  # fmt: skip  One line each would fill half the screen.
from whatsapp_worker.retry import RetryPolicy

log = logging.getLogger(__name__)


class Broker(Protocol):
    """RabbitMQ.  All but `ack`, `give_back` may raise Unavailable and then have changed nothing."""

    def deliveries(self) -> AsyncIterator[Delivery]: ...
    async def ack(self, delivery: Delivery) -> None: ...
    async def give_back(self, delivery: Delivery) -> None: ...
    async def reject(self, delivery: Delivery, error: JobError) -> None: ...
    async def retry(self, delivery: Delivery, job: Job, retry: Retry) -> None: ...
    async def dead_letter(self, delivery: Delivery, job: Job, letter: DeadLetter) -> None: ...


class Ledger(Protocol):
    """What survives a crash.  Every method returns after its commit, or raises Unavailable."""

    def claim(
        self, delivery: Delivery, envelope: WhatsAppEnvelope
    ) -> AbstractAsyncContextManager[Claim]: ...
    async def sending(self, job: Job) -> None: ...
    async def unsent(self, job: Job) -> None: ...
    async def sent(self, job: Job, whatsapp_id: str) -> None: ...
    async def failed(self, job: Job, error: JobError) -> Job: ...
    async def retried(self, job: Job, retry: Retry) -> None: ...
    async def dead(self, job: Job, letter: DeadLetter) -> None: ...


class Pacer(Protocol):
    """Who may send, and when.  Both raise Unavailable when the delivery is to be given back."""

    def turn(self, delivery: Delivery) -> AbstractAsyncContextManager[None]: ...
    async def hold(self, delivery: Delivery, error: Unavailable) -> None: ...


class Sender(Protocol):
    """WhatsApp: returns its message id, or raises a JobError or Unavailable."""

    async def send(self, envelope: WhatsAppEnvelope) -> str: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The whole work of this daemon, given its collaborators."""

    broker: Broker
    ledger: Ledger
    pacer: Pacer
    sender: Sender
    retries: RetryPolicy
    rules: Rules
    observers: tuple[Callable[[Record], None], ...] = ()

    async def run(self) -> None:
        """Handle deliveries until they end, then finish what was begun."""
        async with TaskGroup() as tasks:
            async for delivery in self.broker.deliveries():
                tasks.create_task(self.handle(delivery))
