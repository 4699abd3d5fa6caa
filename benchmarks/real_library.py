"""How fast messages go through the real library, alone, through our adapter and through the daemon.

Run as `python -m benchmarks.real_library` (`--quick`: under a minute).  The WhatsApp server of the
tests answers on 127.0.0.1 from this process; RabbitMQ is a node of our own.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager as Context
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from benchmarks import table
from benchmarks.command import run, say, tell, warn_if_busy
from benchmarks.measuring import Measurement, Sample, measure, sampled
from benchmarks.plan import FAR_SECONDS, FULL, QUICK, Plan, Workload
from benchmarks.processes import file_system, load
from benchmarks.subjects import Kind, Subject, sending, whole
from benchmarks.table import Cell
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.people import Account, Contact
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.demo.find import Node, new_node

RESULTS = Path(__file__).parent / "RESULTS-whatsapp.md"
MEMORY = Path("/dev/shm")  # noqa: S108  Linux keeps it in memory; we make directories of our own.

LIMIT_SECONDS = 3600.0
OWNER = "15550000001"
PEOPLE = 100
"""Who reads in the long run."""


@dataclass(slots=True)
class Bench:
    """What all measurements share.

    Attributes:
        plan: how much is measured.
        library: the copy of neonize that trusts our servers.
        node: RabbitMQ.
        loads: of the machine, after each measurement.
    """

    plan: Plan
    library: Library
    node: Node
    results: dict[Cell, list[Measurement]] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    async def run(self, storages: list[Path]) -> list[Sample]:
        """Measure everything; returns the samples of the long run."""
        for number in range(self.plan.rounds):
            for storage in storages:
                say(f"round {number + 1} of {self.plan.rounds}, {_name(storage)}: linking ...")
                await self._round(storage)
        say(f"{self.plan.long} messages through the daemon ...")
        return await self._long(storages[0])

    async def _round(self, storage: Path) -> None:
        """Every workload by every sender, freshly linked; they take turns on the same machine."""
        async with AsyncExitStack() as opened:
            senders = {
                kind: await opened.enter_async_context(self._subject(kind, storage))
                for kind in Kind
            }
            people = {kind: _people(server, self.plan) for kind, (_, server) in senders.items()}
            for kind, (subject, _) in senders.items():
                await measure(subject, people[kind][:1] * 2)  # The first one asks for keys.
            for workload in Workload:
                for kind, (subject, server) in senders.items():
                    server.rules.round_trip = FAR_SECONDS if workload is Workload.FAR else 0.0
                    to = self.plan.recipients(workload, people[kind])
                    self._note(Cell(_name(storage), workload, kind), await measure(subject, to))

    def _note(self, cell: Cell, found: Measurement) -> None:
        self.results.setdefault(cell, []).append(found)
        self.loads.append(load())
        say(f"  {cell.workload}, {cell.kind}: {found.rate:.0f} messages/s, {found.p50:.1f} ms")

    async def _long(self, storage: Path) -> list[Sample]:
        async with self._subject(Kind.DAEMON, storage) as (daemon, server):
            people = _people(server, self.plan)[:PEOPLE]
            messages = [people[number % len(people)] for number in range(self.plan.long)]
            async with sampled(daemon.pid, lambda: sum(len(p.inbox) for p in people)) as samples:
                await measure(daemon, messages)
        return samples

    @asynccontextmanager
    async def _subject(
        self, kind: Kind, storage: Path
    ) -> AsyncIterator[tuple[Subject, WhatsAppServer]]:
        """A sender that was just linked, and WhatsApp."""
        with tempfile.TemporaryDirectory(prefix="whatsapp-worker-bench-", dir=storage) as name:
            directory = Path(name)
            async with WhatsAppServer(self.library, directory) as server:
                account = server.add_account(OWNER)
                async with self._started(kind, server, account, directory) as subject:
                    yield subject, server

    def _started(
        self, kind: Kind, server: WhatsAppServer, account: Account, directory: Path
    ) -> Context[Subject]:
        if kind is not Kind.DAEMON:
            return sending(kind, server, account, directory)
        vhost = f"bench-{next(self._numbers)}"
        self.node.add_vhosts(vhost)
        return whole(replace(self.node.login, vhost=vhost).url, server, account, directory)


def _people(server: WhatsAppServer, plan: Plan) -> list[Contact]:
    size = 1 + max(plan.strangers, plan.messages)
    return [server.add_contact(f"1555{number + 1_110_001:07d}") for number in range(size)]


def _name(storage: Path) -> str:
    kind = file_system(storage)
    return kind if kind == "tmpfs" else f"disk ({kind})"


async def _bounded(bench: Bench, storages: list[Path]) -> list[Sample]:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await bench.run(storages)


def main(arguments: list[str]) -> int:
    """Measure, print the report and write it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; writes no file")
    plan = QUICK if parser.parse_args(arguments).quick else FULL
    warn_if_busy()
    disk = Path(tempfile.gettempdir())
    storages = [*([MEMORY] if MEMORY.is_dir() else []), *([disk] if plan.disk else [])] or [disk]
    with ExitStack() as opened:
        copy = opened.enter_context(tempfile.TemporaryDirectory(prefix="whatsapp-worker-bench-"))
        node = new_node("bench", say)
        opened.enter_context(node)
        bench = Bench(plan, Library.prepare(Path(copy)), node)
        samples = asyncio.run(_bounded(bench, storages))
    tell(table.report(plan, bench.results, samples, bench.loads), RESULTS if plan is FULL else None)
    return 0


if __name__ == "__main__":
    run(main)
