"""aio-pika with nothing around it: `bare` consumes and acknowledges, `checking` also validates.

The one is what rates and processor time are compared with, the other what delays are.
"""

import asyncio
import json
import sys

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.contenders.contract import Meter, Task, told_to_stop
from benchmarks.contenders.work import check


async def main(kind: str) -> None:
    """Consume until told to stop."""
    task = Task.read()
    meter = Meter(task)

    async def bare(message: AbstractIncomingMessage) -> None:
        meter.begin()
        await message.ack()
        meter.done()

    async def checking(message: AbstractIncomingMessage) -> None:
        meter.begin()
        meter.sending(check(json.loads(message.body)).text)
        await message.ack()
        meter.done()

    async with await aio_pika.connect(task.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=task.prefetch)
        queue = await channel.get_queue(task.queue, ensure=False)
        await queue.consume(bare if kind == "bare" else checking)
        await told_to_stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
