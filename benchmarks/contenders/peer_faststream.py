"""FastStream, without the two lines that it logs for every message by default."""

import asyncio

from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from benchmarks.contenders.contract import Meter, Task, told_to_stop
from benchmarks.contenders.work import Fields, Work


async def main() -> None:
    """Consume until told to stop."""
    task = Task.read()
    meter = Meter(task)
    work = Work(task, meter)

    async def handle(body: Fields) -> None:
        meter.begin()
        await work.do(body)
        meter.done()

    broker = RabbitBroker(
        task.url, logger=None, default_channel=Channel(prefetch_count=task.prefetch)
    )
    broker.subscriber(RabbitQueue(task.queue, declare=False))(handle)
    async with broker:
        await broker.start()
        await told_to_stop()


if __name__ == "__main__":
    asyncio.run(main())
