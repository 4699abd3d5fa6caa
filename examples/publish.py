"""Publish one WhatsApp message so that it is neither lost nor sent twice.

Needs aio-pika, and the broker's address in RABBITMQ_URL.
"""

import asyncio
import json
import os
from datetime import UTC, datetime
from secrets import token_hex

import aio_pika


async def publish(envelope: dict[str, str], message_id: str) -> None:
    """Return when RabbitMQ has taken the message; it is then sent, or dead-lettered with a reason.

    Raises:
        aio_pika.exceptions.PublishError: no queue took it; nothing was published.
        aio_pika.exceptions.DeliveryError: RabbitMQ refused it: the queue is full.
        TimeoutError, ConnectionError: no answer came.  Publish again with the same message_id.
    """
    message = aio_pika.Message(
        json.dumps(envelope).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message_id,  # Sent once per user_id and message_id, however often published.
        timestamp=datetime.now(UTC),
        headers={"traceparent": f"00-{token_hex(16)}-{token_hex(8)}-01"},  # Your tracer's, if any.
    )
    async with await aio_pika.connect(os.environ["RABBITMQ_URL"], timeout=10) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange("woragis.notifications")
        await exchange.publish(message, "whatsapp.send", mandatory=True, timeout=10)


if __name__ == "__main__":
    hello = {
        "user_id": "550e8400-e29b-41d4-a716-446655440000",
        "text_message": "Hi Ana, I'm on my way with order #12.",
        "destination": "+1 555 010-0999",
    }
    asyncio.run(publish(hello, message_id="order-12-on-its-way"))
