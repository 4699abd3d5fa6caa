"""One measurement: a contender as a process of its own, from its start to the empty queue."""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from benchmarks.compare.contenders import JOB_LINE, Contender
from benchmarks.compare.queues import Queue
from benchmarks.contenders.contract import Result, Task

ROOT = Path(__file__).parent.parent.parent
RESULT_SECONDS = 300.0
"""More than the slowest contender has ever taken for its start and all messages."""
START_SECONDS = 60.0
POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
LONGEST_LINE = 1 << 20
SHOWN_LINES = 20


class Failed(Exception):
    """A contender did not do its work; the text says what is missing and what it printed."""


async def empty(contender: Contender, queue: Queue) -> Result:
    """Let a contender do all that is in its queue, and see that it did.

    Raises:
        Failed: something is left, or is not in its log.
    """
    await queue.fill(contender.pack)
    async with started(contender, queue.task) as process:
        result = await told(process, queue.task)
    await check(contender, queue)
    return result


async def follow(contender: Contender, queue: Queue, pace: int) -> Result:
    """Let a contender do messages as they come, so many a second; see `empty`."""
    async with started(contender, queue.task) as process:
        async with asyncio.timeout(START_SECONDS):
            while not await queue.consumed():
                if process.returncode is not None:
                    raise Failed(f"{contender.name} ended{_printed(queue.task)}")
                await asyncio.sleep(POLL_SECONDS)
        await queue.drip(contender.pack, pace)
        result = await told(process, queue.task)
    await check(contender, queue)
    return result


async def check(contender: Contender, queue: Queue) -> None:
    """See that nothing is left and everything was logged; raises Failed."""
    task = queue.task
    if left := await queue.left():
        raise Failed(f"{contender.name} left {left} messages{_printed(task)}")
    if contender.logs and (lines := task.log.read_bytes().count(JOB_LINE)) != task.messages:
        raise Failed(f"{contender.name} logged {lines} jobs of {task.messages}{_printed(task)}")


@asynccontextmanager
async def started(contender: Contender, task: Task) -> AsyncIterator[Process]:
    """Run a contender; at the end stop it, and raise Failed unless it stops properly."""
    with _noise(task).open("wb") as noise:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *contender.command,
            env={**os.environ, **task.environment()},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=PIPE,
            stderr=noise,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for us: we stop it in our own order.
        )
    try:
        yield process
        await asyncio.sleep(contender.settles)
        process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except (TimeoutError, ProcessLookupError):
        raise Failed(f"{contender.name} did not do what it was to{_printed(task)}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # With all that it forked.
        await process.wait()


async def told(process: Process, task: Task) -> Result:
    """The result that a contender tells; raises Failed if it ends without."""
    assert process.stdout  # noqa: S101  A pipe.
    async with asyncio.timeout(RESULT_SECONDS):
        line = await process.stdout.readline()
    if not line:
        raise Failed(f"it ended without a result{_printed(task)}")
    return Result.parse(line)


def _noise(task: Task) -> Path:
    return task.directory / "printed.txt"


def _printed(task: Task) -> str:
    lines = [
        line
        for file in (_noise(task), task.log)
        if file.exists()
        for line in file.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
    ]
    return "\n  ".join([":", *lines])
