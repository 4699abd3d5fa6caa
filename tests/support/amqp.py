"""An ordinary AMQP client, as other teams' services are: plain aio_pika, nothing of ours."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from tests.support.eventually import eventually

EXCHANGE = "woragis.notifications"
ROUTING_KEY = "whatsapp.send"
WORK_QUEUE = "whatsapp.queue"
DEAD_LETTERS = "whatsapp.queue.failed"

SOMEBODY = UUID("0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11")
PHONE = "+15550100999"
"""Fictitious: no subscriber has a number of the range 555-01xx."""


def envelope(
    text: str = "Hello from the tests", destination: str = PHONE, **fields: object
) -> dict[str, object]:
    """The JSON object a publisher sends."""
    return {
        "user_id": str(SOMEBODY), "text_message": text, "destination": destination, **fields
    }  # fmt: skip


class Client:
    """One connection with publisher confirms.

    Every method opens a channel of its own, as a refusal by the broker ends the channel.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel on which publishing raises when the broker does not take the message."""
        channel = await self.connection.channel(publisher_confirms=True, on_return_raises=True)
        try:
            yield channel
        finally:
            await channel.close()

    async def publish(
        self,
        *bodies: bytes | Mapping[str, object],
        exchange: str = EXCHANGE,
        routing_key: str = ROUTING_KEY,
        **properties: Any,
    ) -> list[str]:
        """Publish messages one after the other, each confirmed by the broker.

        Args:
            bodies: raw bytes, or an object that becomes JSON.
            exchange: its name, "" for the default exchange.
            routing_key: with the default exchange the name of a queue.
            properties: of every message (`message_id`, `headers`, ...); without `message_id` each
                gets one of its own, `message_id=None` means none.

        Returns:
            The message ids, in order ("" for none).
        """
        ids = []
        async with self.channel() as channel:
            target = (
                await channel.get_exchange(exchange, ensure=False)
                if exchange
                else channel.default_exchange
            )
            for body in bodies:
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                message = aio_pika.Message(
                    raw,
                    **{
                        "message_id": str(uuid4()),
                        "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
                        **properties,
                    },
                )
                await target.publish(message, routing_key, mandatory=True, timeout=10)
                ids.append(message.message_id or "")
        return ids

    async def count(self, queue: str) -> int | None:
        """How many messages are ready in a queue, None when there is no such queue."""
        try:
            async with self.channel() as channel:
                declared = await channel.declare_queue(queue, passive=True)
                return declared.declaration_result.message_count
        except ChannelNotFoundEntity:
            return None

    async def drain(self, queue: str) -> list[AbstractIncomingMessage]:
        """Take (and ack) everything that is ready in a queue."""
        taken = []
        async with self.channel() as channel:
            source = await channel.get_queue(queue, ensure=False)
            while message := await source.get(fail=False, timeout=10):
                await message.ack()
                taken.append(message)
        return taken

    async def collect(
        self, queue: str, count: int, within: float = 30.0
    ) -> list[AbstractIncomingMessage]:
        """Drain a queue until `count` messages came, at most `within` seconds."""
        taken: list[AbstractIncomingMessage] = []

        async def enough() -> bool:
            taken.extend(await self.drain(queue))
            return len(taken) >= count

        await eventually(enough, f"{count} messages in {queue}, so far {len(taken)}", within)
        return taken


@asynccontextmanager
async def connection_to(url: str) -> AsyncIterator[AbstractConnection]:
    """A connection to the broker at `url`, closed in the end even if it never came to be.

    One that failed and is not closed closes itself when Python's garbage collector finds it, which
    is an error if no event loop runs just then.
    """
    connection = aio_pika.Connection(URL(url))
    try:
        await connection.connect(timeout=10)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    """An ordinary client on the broker at `url`."""
    async with connection_to(url) as connection:
        yield Client(connection)
