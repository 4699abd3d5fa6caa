"""A RabbitMQ object that runs, and what it was told, for the tests of `amqp/`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pydantic import SecretStr

from tests.support.eventually import eventually
from whatsapp_worker.amqp import RabbitMQ
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.outcome import Job
from whatsapp_worker.settings import Settings

WORK = "whatsapp.queue"
DEAD = "whatsapp.queue.failed"
GO_ARGUMENTS = {"x-dead-letter-exchange": "woragis.dlx", "x-dead-letter-routing-key": DEAD}
"""Seed 003: the Go worker's work queue is classic, with these arguments alone."""
JOB = Job(key="ab" * 32, attempt=0, first_seen=1_767_225_600.0)


def settings_for(amqp_url: str, **given: Any) -> Settings:
    """Settings for a broker, with short rungs."""
    return Settings(rabbitmq_url=SecretStr(amqp_url), **{"retry_delays": "300ms,2s", **given})


@dataclass
class Running:
    """A broker that runs, what it delivered and what it reported."""

    broker: RabbitMQ
    taken: asyncio.Queue[Delivery] = field(default_factory=asyncio.Queue)
    paused: dict[PauseReason, str] = field(default_factory=dict)
    reported: list[PauseReason] = field(default_factory=list)
    lost: int = 0

    def report(self, reason: PauseReason, why: str | None) -> None:
        if why is None:
            self.paused.pop(reason, None)
        else:
            self.paused[reason] = why
            self.reported.append(reason)

    def note_lost(self) -> None:
        self.lost += 1

    async def next(self, within: float = 10.0) -> Delivery:
        """The next delivery; those of a dead session are left out, as the pipeline does."""
        async with asyncio.timeout(within):
            while (delivery := await self.taken.get()).receipt.lost:
                pass
            return delivery

    async def take(self, count: int) -> list[bytes]:
        """Ack so many deliveries, return their bodies."""
        bodies = []
        for _ in range(count):
            delivery = await self.next()
            await self.broker.ack(delivery)
            bodies.append(delivery.body)
        return bodies

    async def consuming(self, within: float = 10.0) -> None:
        """Wait until it consumes and can publish."""

        def ready() -> bool:
            status = self.broker.status
            return status.consuming and status.topology_ok and status.problem is None

        await eventually(ready, "consuming", within)

    async def trouble(self, text: str, within: float = 10.0) -> str:
        """Wait until its problem holds `text`."""
        return str(
            await eventually(
                lambda: (p := self.broker.status.problem or "") and text in p and p, text, within
            )
        )


@asynccontextmanager
async def running(
    settings: Settings, *, ready: bool = True, takes: bool = True
) -> AsyncIterator[Running]:
    """Run a RabbitMQ object for as long as the block lasts.

    Args:
        settings: what it runs with.
        ready: wait until it consumes.
        takes: take its deliveries; without, it does not consume.
    """
    box: list[Running] = []
    broker = RabbitMQ(settings, lambda *told: box[0].report(*told), lambda: box[0].note_lost())
    run = Running(broker)
    box.append(run)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(broker.run())
        if takes:
            tasks.create_task(broker.consume(run.taken.put_nowait))
        try:
            if ready and takes:
                await run.consuming()
            yield run
        finally:
            await broker.stop()
            await broker.close()


@asynccontextmanager
async def raw(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    """A bare channel with confirms, in the role of somebody else."""
    connection = await aiormq.connect(amqp_url)
    try:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)
    finally:
        await connection.close(aiormq.exceptions.ConnectionClosed(0, "done"))


async def taken(amqp_url: str, queue: str, count: int = 1) -> list[DeliveredMessage]:
    """Take (and ack) so many messages, with their raw properties."""
    arrived: list[DeliveredMessage] = []
    async with raw(amqp_url) as channel:

        async def keep(message: DeliveredMessage) -> None:
            arrived.append(message)
            await channel.basic_ack(message.delivery_tag or 0)

        await channel.basic_consume(queue, keep)
        await eventually(lambda: len(arrived) >= count, f"{count} messages in {queue}")
        await channel.close()
    return arrived


async def at_peace(ask: Callable[[], Awaitable[Any]], value: object, within: float = 10.0) -> None:
    """Wait until a question has this answer."""

    async def answered() -> bool:
        return bool(await ask() == value)

    await eventually(answered, f"the answer {value!r}", within)
