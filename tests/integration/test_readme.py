"""The publisher in README.md, run as it stands there."""

import os
import subprocess
import sys

from tests.support.amqp import connect
from tests.support.readme import examples


async def test_the_example_publisher_reaches_the_queue(amqp_url: str) -> None:
    async with connect(amqp_url) as client:
        async with client.channel() as channel:
            exchange = await channel.declare_exchange("woragis.notifications", durable=True)
            queue = await channel.declare_queue("whatsapp.queue", durable=True)
            await queue.bind(exchange, "whatsapp.send")
        (example,) = examples("python")
        done = subprocess.run(  # noqa: ASYNC221  Nothing else runs in this loop meanwhile.
            [sys.executable, "-W", "error", "-c", example],
            env={**os.environ, "RABBITMQ_URL": amqp_url},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        (message,) = await client.drain("whatsapp.queue")
        assert b"order-12-on-its-way" in message.body
