"""aio-pika with nothing around it: `bare` consumes and acknowledges, `checking` also validates.

The one is what rates and processor time are compared with, the other what delays are.  `committing`
is bare, with one row committed for each message before it is sent: the least that anybody can do
who is not to forget what he was about to send.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.contenders.contract import Meter, Task, told_to_stop
from benchmarks.contenders.work import check

Handler = Callable[[AbstractIncomingMessage], Coroutine[object, object, None]]


def rows(path: Path) -> sqlite3.Connection:
    """A file in which what was committed survives a power cut, as the worker's ledger."""
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY)")
    return file


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

    def committing(file: sqlite3.Connection) -> Handler:
        async def handle(message: AbstractIncomingMessage) -> None:
            meter.begin()
            file.execute("INSERT INTO messages DEFAULT VALUES")
            if task.clocked:
                meter.sending(json.loads(message.body)["text_message"])
            await message.ack()
            meter.done()

        return handle

    match kind:
        case "bare":
            handle: Handler = bare
        case "checking":
            handle = checking
        case _:
            handle = committing(rows(task.directory / "messages.db"))
    async with await aio_pika.connect(task.url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=task.prefetch)
        queue = await channel.get_queue(task.queue, ensure=False)
        await queue.consume(handle)
        await told_to_stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
