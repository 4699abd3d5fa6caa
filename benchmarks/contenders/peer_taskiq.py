"""taskiq with taskiq-aio-pika: its receiver in this process, no result backend."""

import asyncio
from contextlib import suppress

from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from benchmarks.contenders.contract import NAME, Meter, Task, told_to_stop
from benchmarks.contenders.work import Fields, Work


async def main() -> None:
    """Consume until told to stop."""
    task = Task.read()
    meter = Meter(task)
    work = Work(task, meter)

    async def send(fields: Fields) -> None:
        meter.begin()
        await work.do(fields)
        meter.done()

    queue = Queue(name=task.queue, declare=False)
    exchange = Exchange(name="amq.direct", declare=False)
    broker = AioPikaBroker(
        task.url, qos=task.prefetch, exchange=exchange, task_queues=[queue], dead_letter_queue=queue
    )
    broker.register_task(send, task_name=NAME)
    broker.is_worker_process = True
    await broker.startup()
    receiving = asyncio.create_task(run_receiver_task(broker, max_async_tasks=task.prefetch))
    await told_to_stop()
    receiving.cancel()
    with suppress(asyncio.CancelledError):
        await receiving
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
