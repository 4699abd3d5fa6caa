"""Whether a job costs more where there is more of everything: `python -m benchmarks.scaling`.

More messages in the queue behind it, more jobs in the ledger, more deliveries held at a time.  The
daemon is the one of the comparison (contenders/ours.py), RabbitMQ a node of our own.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from time import time

import aio_pika

from benchmarks.command import node_for_a_million, run, say, tell, warn_if_busy
from benchmarks.compare.contenders import OURS
from benchmarks.compare.messages import plain
from benchmarks.compare.plan import CLASSIC, PACED_SECONDS, WARM, rotated
from benchmarks.compare.queues import Queue
from benchmarks.compare.results import Results
from benchmarks.compare.running import follow, started, told
from benchmarks.contenders.contract import Result, Task
from benchmarks.processes import load
from benchmarks.scaling_report import More, report
from whatsapp_worker.store.database import FILE_NAME, Database

RESULTS = Path(__file__).parent / "RESULTS-scaling.md"
PREFETCH = 10
PACE = 20
"""Messages a second while the ledger forgets."""
ROWS_AT_ONCE = 50_000
DAY = 86_400.0
KEPT, EXPIRED = 1 * DAY, 365 * DAY
"""Seconds since a job last changed: long before LEDGER_RETENTION_DAYS, and long after."""


@dataclass(frozen=True, slots=True)
class Cell:
    """So much of something."""

    more: More
    value: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: in each, everything is measured once.
        jobs: per measurement.
        values: how much there is of what; the first is what the others are compared with.
        forgotten: expired jobs in a ledger of twice as many.
    """

    rounds: int
    jobs: int
    values: dict[More, tuple[int, ...]]
    forgotten: int

    @property
    def cells(self) -> list[Cell]:
        """Everything that is measured."""
        several = [Cell(more, value) for more, values in self.values.items() for value in values]
        return [*several, *(Cell(More.EXPIRED, value) for value in (0, self.forgotten))]


FULL = Plan(
    rounds=9,
    jobs=1000,
    values={
        More.MESSAGES: (1_000, 10_000, 100_000, 1_000_000),
        More.JOBS: (0, 1_000_000, 5_000_000),
        More.PREFETCH: (1, 2, 5, 10, 20, 50, 100, 200),
    },
    forgotten=500_000,
)
QUICK = Plan(
    rounds=2,
    jobs=200,
    values={More.MESSAGES: (200, 5_000), More.JOBS: (0, 50_000), More.PREFETCH: (1, 10)},
    forgotten=20_000,
)


@dataclass(slots=True)
class Bench:
    """Where it all stands between two measurements.

    Attributes:
        plan: how much is measured.
        url: of RabbitMQ.
        directory: of our own; ledgers lie there.
        results: so far.
        loads: of the machine, after each measurement.
    """

    plan: Plan
    url: str
    directory: Path
    results: Results[More] = field(default_factory=Results)
    loads: list[float] = field(default_factory=list)
    _queues: dict[int, Queue] = field(default_factory=dict)

    async def run(self) -> None:
        """Prepare and measure everything."""
        plan = self.plan
        for jobs in plan.values[More.JOBS][1:]:
            await self._write_ledger(str(jobs), jobs, 0)
        for expired in (0, plan.forgotten):
            await self._write_ledger(f"{expired} expired", 2 * plan.forgotten, expired)
        async with AsyncExitStack() as opened:
            for messages in plan.values[More.MESSAGES]:
                task = Task(self.url, f"b.{messages}", CLASSIC, PREFETCH, messages, self.directory)
                connection = await opened.enter_async_context(await aio_pika.connect(task.url))
                queue = await opened.enter_async_context(Queue.of(task, connection))
                self._queues[messages] = queue
                say(f"{messages} messages into a queue ...")
                await queue.fill(plain)
            for number in range(plan.rounds):
                say(f"round {number + 1} of {plan.rounds}")
                done = {cell: await self._measure(cell) for cell in rotated(plan.cells, number)}
                for more in More:
                    values = [cell for cell in plan.cells if cell.more is more]
                    self.results.add(more, {f"{cell.value:,}": done[cell] for cell in values})

    async def _measure(self, cell: Cell) -> Result:
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = Path(name)
            match cell.more:
                case More.MESSAGES:
                    result = await self._work(self._queues[cell.value], directory, PREFETCH)
                case More.PREFETCH:
                    result = await self._work(self._short, directory, cell.value)
                case More.JOBS:
                    if cell.value:
                        self._take_ledger(str(cell.value), directory)
                    result = await self._work(self._short, directory, PREFETCH)
                case More.EXPIRED:
                    self._take_ledger(f"{cell.value} expired", directory)
                    result = await self._follow(directory)
        self.loads.append(load())
        say(f"  {cell.value} {cell.more}: {1e6 * result.cpu_each:.0f} µs each")
        return result

    @property
    def _short(self) -> Queue:
        """The queue with the fewest messages in it."""
        return next(iter(self._queues.values()))

    async def _work(self, queue: Queue, directory: Path, prefetch: int) -> Result:
        """Have some jobs done of those in a queue, after it was filled up again."""
        missing = queue.task.messages - await queue.left()
        await replace(queue, task=replace(queue.task, messages=missing)).fill(plain)
        task = replace(queue.task, prefetch=prefetch, messages=self.plan.jobs, directory=directory)
        async with started(OURS, task) as process:
            return await told(process, task)

    async def _follow(self, directory: Path) -> Result:
        """Have jobs done as they come."""
        task = Task(
            self.url,
            "b.paced",
            CLASSIC,
            1,
            WARM + PACED_SECONDS * PACE,
            directory,
            clocked=True,
        )
        async with (
            await aio_pika.connect(task.url) as connection,
            Queue.of(task, connection) as queue,
        ):
            return await follow(OURS, queue, PACE)

    def _take_ledger(self, name: str, directory: Path) -> None:
        """Have a copy, so that the next one finds it as this one did."""
        shutil.copy(self.directory / name, directory / FILE_NAME)

    async def _write_ledger(self, name: str, jobs: int, expired: int) -> None:
        """Write a ledger of so many sent jobs, some of them older than anybody wants to know."""
        say(f"a ledger of {jobs} jobs, {expired} of them expired ...")
        path = self.directory / name
        await (await Database.open(path)).close()
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA synchronous = OFF")
            rows = _rows(jobs, expired)
            while together := list(islice(rows, ROWS_AT_ONCE)):
                with file:
                    file.executemany(_INSERT, together)
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_INSERT = """
    INSERT INTO jobs (key, print, keyless, state, attempt, unknown_count, whatsapp_id, first_seen,
        updated_at) VALUES (?, ?, 0, 'SENT', 0, 0, ?, ?, ?)
"""


def _rows(jobs: int, expired: int) -> Iterator[tuple[object, ...]]:
    """Jobs as the worker leaves them; their keys are as random as its own."""
    now = time()
    for number in range(jobs):
        at = now - (EXPIRED if number < expired else KEPT)
        yield os.urandom(32), os.urandom(32), secrets.token_hex(10).upper(), at, at


def main(arguments: list[str]) -> int:
    """Measure, print the report and write it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes; writes no file")
    plan = QUICK if parser.parse_args(arguments).quick else FULL
    warn_if_busy()
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-worker-bench-") as name,
        node_for_a_million() as node,
    ):
        bench = Bench(plan, node.login.url, Path(name))
        asyncio.run(bench.run())
    tell(report(bench.results, plan.jobs, bench.loads), RESULTS if plan is FULL else None)
    return 0


if __name__ == "__main__":
    run(main)
