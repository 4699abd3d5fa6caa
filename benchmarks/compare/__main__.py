"""Compare the daemon with other consumers; prints a report and, in full, writes RESULTS.md.

`make bench` and `make bench-quick` run it with everything that it needs.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from platform import python_version
from time import monotonic

import aio_pika
from aio_pika.abc import AbstractConnection

from benchmarks.command import run, say, tell, warn_if_busy
from benchmarks.compare.contenders import CONTENDERS, PACKAGES, YARDSTICKS, Contender
from benchmarks.compare.plan import BACKLOG, PACED, QUICK, Cell, Plan, rotated
from benchmarks.compare.queues import Queue
from benchmarks.compare.report import Setting, report
from benchmarks.compare.results import CPU, P50, P99, RATE, Results
from benchmarks.compare.running import Failed, empty, follow
from benchmarks.contenders.contract import Result, Task
from benchmarks.processes import load, machine
from whatsapp_worker import __version__
from whatsapp_worker.demo.find import Node, new_node

RESULTS = Path(__file__).parent.parent / "RESULTS.md"
PARTS = {"backlog": BACKLOG, "latency": PACED}
ALL = tuple(PARTS.values())
TRIES = 3
"""How often a contender may fail under the same conditions in one round."""


@dataclass(slots=True)
class Comparison:
    """Everybody, round by round.

    Attributes:
        contenders: who.
        url: of RabbitMQ.
        results: of whole rounds.
        loads: of the machine, after each measurement.
    """

    contenders: Sequence[Contender]
    url: str
    results: Results[Cell] = field(default_factory=Results)
    loads: list[float] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    async def run(self, plan: Plan) -> None:
        """Measure everything that is planned."""
        began = monotonic()
        rounds = 0
        while plan.another(rounds, monotonic() - began):
            for number, cell in enumerate(plan.cells):
                say(f"round {rounds + 1}: {cell.conditions}")
                everybody = [each for each in self.contenders if each.fits(cell)]
                order = rotated(everybody, rounds + number)
                done = {each: await self._some_result(each, cell, plan) for each in order}
                self.results.add(cell, {each.name: done[each] for each in everybody})
            rounds += 1

    async def _some_result(self, contender: Contender, cell: Cell, plan: Plan) -> Result:
        """Measure, and again if that fails: two hours are not lost for one framework's mishap."""
        for _ in range(TRIES - 1):
            try:
                return await self._measure(contender, cell, plan.count(cell))
            except Failed as failure:
                say(f"{failure}\nOnce more ...")
        return await self._measure(contender, cell, plan.count(cell))

    async def _measure(self, contender: Contender, cell: Cell, messages: int) -> Result:
        with tempfile.TemporaryDirectory(prefix="whatsapp-worker-bench-") as directory:
            task = Task(
                url=self.url,
                queue=f"bench.{next(self._numbers)}",
                kind=cell.kind,
                prefetch=cell.prefetch,
                messages=messages,
                directory=Path(directory),
                clocked=cell.pace is not None,
            )
            async with (
                await aio_pika.connect(self.url) as connection,
                Queue.of(task, connection) as queue,
            ):
                if cell.pace is None:
                    result = await empty(contender, queue)
                else:
                    result = await follow(contender, queue, cell.pace)
        self.loads.append(load())
        say(f"  {contender.name}: {_summary(cell, result)}")
        return result


def _summary(cell: Cell, result: Result) -> str:
    cpu = f"{1e6 * CPU.of(result):.0f} µs each"
    if cell.pace is None:
        return f"{RATE.of(result):.0f} messages/s, {cpu}"
    return f"p50 {1000 * P50.of(result):.2f} ms, p99 {1000 * P99.of(result):.2f} ms, {cpu}"


async def rabbitmq_version(url: str) -> str:
    """What the node says it is."""
    async with await aio_pika.connect(url) as connection:
        return _server_version(connection)


def _server_version(connection: AbstractConnection) -> str:
    properties = connection.transport.connection.server_properties if connection.transport else {}
    said = properties.get("version", "?")
    return said.decode() if isinstance(said, bytes) else str(said)


def setting(messages: int, rabbitmq: str, loads: Sequence[float]) -> Setting:
    """Where and how."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    ours = f"whatsapp-worker {__version__}, Python {python_version()}, RabbitMQ {rabbitmq}"
    return Setting(
        when=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=machine(),
        versions=f"{ours}, {packages}",
        loads=loads,
        messages=messages,
    )


async def compare(plans: Sequence[Plan], comparison: Comparison) -> None:
    """Measure all that is planned."""
    for plan in plans:
        await comparison.run(plan)


def measured(
    plans: Sequence[Plan], contenders: Sequence[Contender], node: Node
) -> tuple[str, bool]:
    """Measure; returns the report on all whole rounds, and whether it is complete."""
    comparison = Comparison(contenders, node.login.url)
    complete = False
    try:
        asyncio.run(compare(plans, comparison))
        complete = True
    except KeyboardInterrupt:
        say("Stopped.")
    except Failed as failure:
        say(str(failure))
    if not comparison.results.rounds:
        return "", complete
    rabbitmq = asyncio.run(rabbitmq_version(node.login.url))
    where = setting(plans[0].messages, rabbitmq, comparison.loads)
    return report(where, comparison.results), complete


def main(arguments: list[str]) -> int:
    """Do as told; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, help="this part alone; writes no file")
    parser.add_argument("--quick", action="store_true", help="under 3 minutes; writes no file")
    parser.add_argument(
        "--only",
        default="",
        metavar="WORD",
        help="who has this word in the name, and the yardsticks",
    )
    given = parser.parse_args(arguments)
    plans = (QUICK,) if given.quick else (PARTS[given.part],) if given.part else ALL
    chosen = [c for c in CONTENDERS if c in YARDSTICKS or given.only.lower() in c.name.lower()]
    warn_if_busy()
    with new_node("bench", say) as node:
        text, complete = measured(plans, chosen, node)
    full = complete and plans is ALL and len(chosen) == len(CONTENDERS)
    tell(text, RESULTS if full else None)
    return 0 if complete else 1


if __name__ == "__main__":
    run(main)
