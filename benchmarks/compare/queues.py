"""RabbitMQ as the runner needs it: a fresh queue, messages that are safely in it, a look at it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, DeliveryMode
from pamqp.commands import Queue as Spec

from benchmarks.compare.messages import Pack, Packed, contents
from benchmarks.compare.plan import QUORUM
from benchmarks.contenders.contract import Task
from benchmarks.contenders.ours import settings_of
from whatsapp_worker.amqp.topology import go_arguments, work_arguments

WINDOW = 200
"""Publishes that wait for their confirms together."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one task, for as long as that takes.

    Everybody gets the worker's own queue, so that RabbitMQ does the same for everybody.
    """

    task: Task
    channel: AbstractChannel

    async def fill(self, pack: Pack) -> None:
        """Publish all messages, persistent, and return when RabbitMQ has confirmed each."""
        fields = islice(contents(), self.task.messages)
        packed = (pack(each, self.task.queue) for each in fields)
        while together := list(islice(packed, WINDOW)):
            await asyncio.gather(*map(self.publish, together))

    async def drip(self, pack: Pack, pace: int) -> None:
        """Publish so many messages a second, whatever becomes of them, each with its time."""
        fields = contents(stamped=True)
        began = monotonic()
        async with asyncio.TaskGroup() as publishing:
            for number in range(self.task.messages):
                await asyncio.sleep(max(0.0, began + number / pace - monotonic()))
                publishing.create_task(self.publish(pack(next(fields), self.task.queue)))

    async def publish(self, packed: Packed) -> None:
        """Publish one message, and return when it is confirmed."""
        message = aio_pika.Message(
            packed.body,
            headers=packed.headers,
            message_id=packed.message_id,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await self.channel.default_exchange.publish(message, routing_key=self.task.queue)

    async def left(self) -> int:
        """How many messages are in it, once those that nobody acknowledged have returned."""
        return (await self._look()).message_count or 0

    async def consumed(self) -> bool:
        """Whether somebody consumes from it."""
        return bool((await self._look()).consumer_count)

    async def _look(self) -> Spec.DeclareOk:
        queue = await self.channel.declare_queue(self.task.queue, passive=True)
        return queue.declaration_result

    @classmethod
    @asynccontextmanager
    async def of(cls, task: Task, connection: AbstractConnection) -> AsyncIterator[Self]:
        """Make it, and remove it with all that the contender made beside it."""
        settings = settings_of(task)
        arguments = work_arguments if task.kind == QUORUM else go_arguments
        async with connection.channel() as channel:
            await channel.declare_queue(task.queue, durable=True, arguments=arguments(settings))
            try:
                yield cls(task, channel)
            finally:
                others = [settings.retry_queue(rung) for rung in settings.retry_delays]
                for name in (task.queue, settings.dead_letter_queue, *others):
                    await channel.queue_delete(name)
