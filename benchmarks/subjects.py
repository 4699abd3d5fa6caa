"""What is measured: the library alone, our adapter, the whole daemon; each a process of its own."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP
from typing import Any, Protocol

from benchmarks.processes import ended
from tests.integration.campaign import Publisher
from tests.integration.messages import Planner
from tests.support.daemon import RunningDaemon, run_daemon
from tests.whatsapp_server.pairing_watch import link_whoever_asks
from tests.whatsapp_server.people import Account
from tests.whatsapp_server.server import WhatsAppServer

START_SECONDS = 60.0
SEND_SECONDS = 600.0
POLL_SECONDS = 0.2
LONGEST_LINE = 1 << 24
"""Bytes: ten thousand times in one line."""

TEXT = "Your order 4711 is on its way and arrives tomorrow between 10 and 12."
"""As long as a notification usually is."""

ROOT = Path(__file__).parent.parent


class Kind(StrEnum):
    """What can be measured."""

    BARE = "bare library"
    ADAPTER = "adapter"
    DAEMON = "daemon"


class Subject(Protocol):
    """Something that sends."""

    @property
    def pid(self) -> int:
        """The process that does it."""

    async def load(self, numbers: Sequence[str]) -> None:
        """Have a message to each of these numbers ready, and send none yet."""

    async def send(self) -> list[float]:
        """Send what was loaded; returns the seconds that each message took."""


class Sending:
    """The process of `benchmarks.sender`."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a sender is talked to through pipes")
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self._loaded: Sequence[str] = ()

    @property
    def pid(self) -> int:
        """See `Subject`."""
        return self._process.pid

    async def load(self, numbers: Sequence[str]) -> None:
        """See `Subject`."""
        self._loaded = numbers

    async def send(self) -> list[float]:
        """See `Subject`."""
        self._to.write(json.dumps([TEXT, *self._loaded]).encode() + b"\n")
        _, seconds = await self.hear(SEND_SECONDS)
        return list(map(float, seconds))

    async def online(self, server: WhatsAppServer, account: Account) -> None:
        """Return when it can send; link it if it shows a code."""
        while True:
            what, value = await self.hear(START_SECONDS)
            if what == "online":
                return
            await server.scan(value, account)

    async def hear(self, within: float) -> tuple[str, Any]:  # What it is depends on the word.
        """What it says next."""
        async with asyncio.timeout(within):
            line = await self._from.readline()
        if not line:
            raise RuntimeError("the sender ended; what it printed is above")
        ((what, value),) = json.loads(line).items()
        return what, value


@dataclass(slots=True)
class Whole:
    """The daemon, with RabbitMQ before it.

    While it is loaded it stands still, so that publishing is not part of what is measured.
    """

    daemon: RunningDaemon
    publisher: Publisher
    planner: Planner
    _loaded: int = 0
    _sent: int = 0

    @property
    def pid(self) -> int:
        """See `Subject`."""
        return self.daemon.process.pid

    async def load(self, numbers: Sequence[str]) -> None:
        """See `Subject`."""
        self.daemon.signal(SIGSTOP)
        planned = [self.planner.good(text=TEXT, destination=f"+{number}") for number in numbers]
        await self.publisher.publish(planned)
        self._loaded = len(planned)

    async def send(self) -> list[float]:
        """See `Subject`; to a thousandth of a second, as its log tells it."""
        self.daemon.signal(SIGCONT)
        self._sent += self._loaded

        def settled() -> bool:
            return self.daemon.process.output.read_bytes().count(b'"job sent"') >= self._sent

        await _until(settled, self.pid)
        lines = self.daemon.printed.splitlines()
        jobs = [json.loads(line) for line in lines if '"job sent"' in line]
        return [float(job["duration_seconds"]) for job in jobs[-self._loaded :]]


async def _until(settled: Callable[[], bool], pid: int) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        while not settled():
            if ended(pid):
                raise RuntimeError("the daemon ended")
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def sending(
    kind: Kind, server: WhatsAppServer, account: Account, directory: Path
) -> AsyncIterator[Sending]:
    """Run a sender until it is online, and as long as the context lasts."""
    which = "bare" if kind is Kind.BARE else "adapter"
    environment = {**os.environ, **server.environment, "NEONIZE_BOT_TAG": "off"}
    with (directory / "printed.txt").open("ab") as noise:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.sender", which, str(directory)),
            env=environment, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=noise, limit=LONGEST_LINE,
            start_new_session=True,
        )  # fmt: skip
    try:
        subject = Sending(process)
        async with _scanned(server, account, directory):
            await subject.online(server, account)
        yield subject
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def whole(
    amqp_url: str, server: WhatsAppServer, account: Account, directory: Path
) -> AsyncIterator[Whole]:
    """Run a daemon until it is online, and as long as the context lasts."""
    settings = {
        **server.environment,
        "WHATSAPP_SENDER": "neonize",
        "WHATSAPP_SEND_INTERVAL": "0",
        "READY_REQUIRES_WHATSAPP": "true",
    }
    async with run_daemon(amqp_url, directory, directory, **settings) as daemon:
        async with _scanned(server, account, directory / "session"):
            await daemon.ready(START_SECONDS)
        yield Whole(daemon, Publisher(amqp_url), Planner(Random(1)))  # noqa: S311  Names nothing but messages.


@asynccontextmanager
async def _scanned(server: WhatsAppServer, account: Account, session: Path) -> AsyncIterator[None]:
    """Meanwhile the owner scans whatever code our adapter shows."""
    async with asyncio.TaskGroup() as tasks:
        scanning = tasks.create_task(link_whoever_asks(session, server, account, lambda _: None))
        yield
        scanning.cancel()
