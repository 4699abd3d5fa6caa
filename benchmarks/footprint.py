"""What the daemon holds, and how long it takes to start: `python -m benchmarks.footprint`.

The WhatsApp server of the tests answers for the processes that need the real library; RabbitMQ is a
node of our own.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from urllib.parse import urlsplit

import aio_pika

from benchmarks.command import node_for_a_million, run, say, tell
from benchmarks.compare.messages import plain
from benchmarks.compare.plan import CLASSIC
from benchmarks.compare.queues import Queue
from benchmarks.contenders.contract import Task
from benchmarks.footprint_report import Held, Memory, Starts, report
from benchmarks.measuring import Sample, sampled
from benchmarks.processes import footprint, load
from benchmarks.subjects import Kind, sending, whole
from tests.support.daemon import RunningDaemon, run_daemon
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.demo.daemon import Daemon
from whatsapp_worker.demo.find import Node

RESULTS = Path(__file__).parent / "RESULTS-footprint.md"
OWNER = "15550000001"
PREFETCH = 50
IDLE_SECONDS = 3.0
"""After which a process that waits holds what it will go on to hold."""
POLL_SECONDS = 0.01
START_SECONDS = 60.0
WORK_SECONDS = 3600.0

SCRIPT = Path(sys.executable).with_name("whatsapp-worker")
NAMES = "import whatsapp_worker.process, whatsapp_worker.cli, sys; print(*sys.modules)"
IMPORT = """
import sys
from contextlib import suppress
for name in sys.argv[1:]:
    with suppress(ImportError):
        __import__(name)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        starts: how often each start is timed.
        jobs: for which memory is watched.
        backlog: messages that lie in the queue besides.
        worked: jobs that are done before memory is compared, with and without that backlog.
    """

    starts: int
    jobs: int
    backlog: int
    worked: int


FULL = Plan(starts=9, jobs=100_000, backlog=1_000_000, worked=5_000)
QUICK = Plan(starts=3, jobs=2_000, backlog=5_000, worked=500)


# Starts -------------------------------------------------------------------------------------------


def starts(plan: Plan, node: Node, directory: Path) -> Starts:
    """Time what starts, in turn, again and again."""
    libraries = _imported_by_daemon()
    found = Starts()
    for number in range(plan.starts):
        found.python.append(_seconds(sys.executable, "-c", "pass"))
        found.libraries.append(_seconds(sys.executable, "-c", IMPORT, *libraries))
        with _sandboxed(node, directory, number) as daemon:
            found.ready.append(_until_ready(daemon))
            address = urlsplit(daemon.url)
            where = {"HTTP_HOST": str(address.hostname), "HTTP_PORT": str(address.port)}
            found.healthcheck.append(_seconds(str(SCRIPT), "healthcheck", environment=where))
        say(f"start {number + 1}: ready after {found.ready[-1]:.2f} s")
    return found


def _imported_by_daemon() -> list[str]:
    done = subprocess.run(  # noqa: S603  Ourselves.
        [sys.executable, "-c", NAMES], capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.split() if not name.startswith(("whatsapp_worker", "__"))]


def _seconds(*command: str, environment: Mapping[str, str] | None = None) -> float:
    began = perf_counter()
    subprocess.run(  # noqa: S603  Ourselves.
        command, env={**os.environ, **(environment or {})}, capture_output=True, check=True
    )
    return perf_counter() - began


def _sandboxed(node: Node, directory: Path, number: int) -> Daemon:
    session = directory / f"session-{number}"
    session.mkdir(mode=0o700)
    settings = {
        "RABBITMQ_URL": node.login.url,
        "WHATSAPP_SENDER": "sandbox",
        "WHATSAPP_SESSION_PATH": str(session),
        "ENV": "production",
    }
    return Daemon(settings, directory / "printed.txt")


def _until_ready(daemon: Daemon) -> float:
    """Seconds from now, which is just after exec, until /readyz says that it consumes."""
    began = perf_counter()
    while daemon.get("/readyz")[0] != 200:
        seconds = perf_counter() - began
        if seconds > START_SECONDS or not daemon.running:
            raise RuntimeError(f"the daemon did not become ready\n{daemon.printed}")
        sleep(POLL_SECONDS)
    return perf_counter() - began


# Memory -------------------------------------------------------------------------------------------


async def memory(plan: Plan, node: Node, directory: Path) -> Memory:
    """See what processes hold."""
    library = Library.prepare(directory / "library")
    held: list[Held] = []
    for name, kind in (("neonize, connected", Kind.BARE), ("daemon, connected", Kind.DAEMON)):
        place = directory / kind.name
        place.mkdir()
        held.append(Held(name, await _linked(kind, library, node.login.url, place)))
        say(f"{name}: {held[-1].rss:.1f} MB")
    for name, backlog in (("daemon, sandbox, idle", 0), ("with a backlog", plan.backlog)):
        say(f"{name}, {backlog} messages ...")
        async with _working(node, directory / f"b{backlog}", plan.worked + backlog) as daemon:
            await _done(daemon, plan.worked)
            daemon.signal(signal.SIGSTOP)
            after = f"daemon, sandbox, after {plan.worked} jobs, {backlog} more in the queue"
            held.append(Held(after, footprint(daemon.process.pid).rss))
    say(f"{plan.jobs} jobs ...")
    return Memory(held, await _watched(plan, node, directory / "jobs"))


async def _linked(kind: Kind, library: Library, url: str, directory: Path) -> float:
    """Resident memory of a process that is connected to WhatsApp, and idle."""
    async with AsyncExitStack() as opened:
        server = await opened.enter_async_context(WhatsAppServer(library, directory))
        account = server.add_account(OWNER)
        subject = (
            await opened.enter_async_context(whole(url, server, account, directory))
            if kind is Kind.DAEMON
            else await opened.enter_async_context(sending(kind, server, account, directory))
        )
        await asyncio.sleep(IDLE_SECONDS)
        return footprint(subject.pid).rss


async def _watched(plan: Plan, node: Node, directory: Path) -> list[Sample]:
    async with _working(node, directory, plan.jobs) as daemon:
        log = _Lines(daemon.process.output)
        async with sampled(daemon.process.pid, log.jobs) as samples:
            await _done(daemon, plan.jobs, log)
    return samples


@asynccontextmanager
async def _working(node: Node, directory: Path, messages: int) -> AsyncIterator[RunningDaemon]:
    """A daemon with the sandbox that has just become ready, and so many messages before it."""
    directory.mkdir()  # noqa: ASYNC240  Nothing else runs meanwhile.
    task = Task(
        node.login.url, f"footprint.{directory.name}", CLASSIC, PREFETCH, messages, directory
    )
    settings = {
        "WHATSAPP_QUEUE_NAME": task.queue,
        "WHATSAPP_PREFETCH_COUNT": str(PREFETCH),
        "RETRY_DELAYS": "1h",
    }
    async with (
        await aio_pika.connect(task.url) as connection,
        Queue.of(task, connection) as queue,
    ):
        await queue.fill(plain)
        async with run_daemon(task.url, directory, directory, **settings) as daemon:
            await daemon.ready()
            yield daemon
            daemon.kill()


class _Lines:
    """Counts the jobs in a growing log, each line once.

    Args:
        file: the log.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb")
        self._jobs = 0

    def jobs(self) -> int:
        """How many there are by now."""
        self._jobs += self._file.read().count(b'"job sent"')
        return self._jobs


async def _done(daemon: RunningDaemon, jobs: int, log: _Lines | None = None) -> None:
    log = log or _Lines(daemon.process.output)
    async with asyncio.timeout(WORK_SECONDS):
        while log.jobs() < jobs:
            if not daemon.process.running:
                raise RuntimeError(f"the daemon ended\n{daemon.printed[-2000:]}")
            await asyncio.sleep(POLL_SECONDS)


def main(arguments: list[str]) -> int:
    """Measure, print the report and write it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute; writes no file")
    plan = QUICK if parser.parse_args(arguments).quick else FULL
    with (
        tempfile.TemporaryDirectory(prefix="whatsapp-worker-bench-") as name,
        node_for_a_million() as node,
    ):
        begun = starts(plan, node, Path(name))
        held = asyncio.run(memory(plan, node, Path(name)))
    tell(report(begun, held, load()), RESULTS if plan is FULL else None)
    return 0


if __name__ == "__main__":
    run(main)
