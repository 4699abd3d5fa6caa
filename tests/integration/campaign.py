"""Campaigns: many messages, faults while they are under way, and the arithmetic afterwards.

The publisher's own record says what RabbitMQ confirmed; the outbox, the dead-letter queue and the
ledger say what became of it (reckoning.py).  Nothing in here asks the worker whether it did well.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Protocol
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp.commands import Basic
from pydantic import SecretStr

from tests.integration.messages import Planned
from tests.integration.reckoning import ledger, ledger_rows
from tests.support.amqp import (
    DEAD_LETTERS,
    EXCHANGE,
    ROUTING_KEY,
    WORK_QUEUE,
    Client,
    connect,
    connection_to,
)
from tests.support.daemon import RunningDaemon, run_daemon
from tests.support.eventually import eventually
from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry
from whatsapp_worker.settings import Settings

GO_ARGUMENTS: dict[str, Any] = {
    "x-dead-letter-exchange": "woragis.dlx",
    "x-dead-letter-routing-key": DEAD_LETTERS,
}
"""Seed 003: the Go worker's work queue is classic, durable, with these arguments alone."""
KINDS = pytest.mark.parametrize("kind", ["quorum", "classic"])

TICKS = 25
"""How often a second a steady stream of messages publishes some."""
MANY, LOOK_SECONDS = 500, 0.2
"""From so many messages on, seconds between two looks at them: looking costs the worker its CPU."""
WINDOW = 100
"""Publishes that wait for their confirms together."""


# The publisher ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Publisher:
    """An ordinary publisher with confirms that keeps a record, and goes on after every fault.

    Attributes:
        url: AMQP URL.
        confirmed: what RabbitMQ has taken, in order.
        unknown: what got no confirm: it may have arrived or not.
    """

    url: str
    confirmed: list[Planned] = field(default_factory=list)
    unknown: list[Planned] = field(default_factory=list)
    _returned: int = 0

    async def publish(self, planned: Sequence[Planned], window: int = WINDOW) -> None:
        """Publish each once, in order, at full speed; connect again as often as that takes."""
        waiting = list(planned)
        while waiting:
            with suppress(aio_pika.exceptions.AMQPError, OSError, RuntimeError):
                async with self._channel() as channel:
                    while waiting and not channel.is_closed:
                        now, waiting = waiting[:window], waiting[window:]
                        await self._publish_together(channel, now)
                    continue
            await asyncio.sleep(0.05)  # Nobody tells us when a broker is back.

    async def pour(self, planned: Iterator[Planned], rate: float, until: asyncio.Event) -> None:
        """Publish so many a second until told to stop; connect again as often as that takes."""
        together = max(1, round(rate / TICKS))
        pause = together / rate
        clock = asyncio.get_running_loop().time
        while not until.is_set():
            with suppress(aio_pika.exceptions.AMQPError, OSError, RuntimeError):
                async with self._channel() as channel:
                    due = clock()
                    while not until.is_set() and not channel.is_closed:
                        await self._publish_together(channel, list(islice(planned, together)))
                        due = max(due + pause, clock())  # What an outage held up is not made up.
                        await asyncio.sleep(due - clock())
                    continue
            await asyncio.sleep(0.05)  # Nobody tells us when a broker is back.

    async def _publish_together(self, channel: AbstractChannel, planned: list[Planned]) -> None:
        returned = self._returned
        answers = await asyncio.gather(
            *(publish_one(channel, each) for each in planned), return_exceptions=True
        )
        # aiormq tells what is returned by its message id, so of one without we can not be sure.
        for each, answer in zip(planned, answers, strict=True):
            sure = answer is True and (each.message_id or self._returned == returned)
            (self.confirmed if sure else self.unknown).append(each)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        async with connection_to(self.url) as connection:
            channel = await confirming(connection)
            self._count_returns(channel)
            yield channel

    def _count_returns(self, channel: AbstractChannel) -> None:
        """Notice messages that reached no queue; of those without a message id aiormq tells nobody.

        A broker that has just come back confirms and returns what finds no queue yet.
        """
        take = channel._on_return_frame  # type: ignore[attr-defined]  # There is no other way.

        async def count(frame: Basic.Return) -> None:
            self._returned += 1
            await take(frame)

        channel._on_return_frame = count  # type: ignore[attr-defined]  # As above.


async def confirming(connection: AbstractConnection) -> AbstractChannel:
    """A channel with confirms on which a message that reaches no queue raises."""
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    return await channel.get_underlay_channel()


class Message(Protocol):
    """What can be published."""

    @property
    def body(self) -> bytes: ...

    def properties(self) -> Basic.Properties: ...


async def publish_one(channel: AbstractChannel, planned: Message) -> bool:
    """Publish a message; true when RabbitMQ confirmed it."""
    answer = await channel.basic_publish(
        planned.body,
        exchange=EXCHANGE,
        routing_key=ROUTING_KEY,
        properties=planned.properties(),
        mandatory=True,
        timeout=15,
    )
    return isinstance(answer, Basic.Ack)


# The worker and its traces ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Watched(RunningDaemon):
    """A daemon whose traces are kept for the test that looks for private things.

    Attributes:
        directory: where it runs.
        kept: the directory that keeps them.
    """

    directory: Path
    kept: Path

    async def stop(self, within: float = 30.0) -> int:
        """SIGTERM it and return its exit code."""
        await self.keep()
        return await RunningDaemon.stop(self, within)

    async def keep(self) -> None:
        """Keep what it says of itself now."""
        keep(self.kept, "metrics", (await self.get("/metrics"))[1])
        for path in ("/healthz", "/livez", "/readyz"):
            keep(self.kept, "health", (await self.get(path))[1])
        with suppress(sqlite3.Error):  # One that never came so far has no ledger.
            keep(self.kept, "ledger", *map(repr, ledger_rows(self.directory)))


@asynccontextmanager
async def worker(
    amqp_url: str, directory: Path, printed: Path, **settings: str
) -> AsyncIterator[Watched]:
    """Run a daemon, and keep what it leaves behind for the test that looks for private things."""
    directory.mkdir(exist_ok=True)
    async with run_daemon(amqp_url, directory, printed, **settings) as running:
        daemon = Watched(running.process, running.outbox, directory, printed)
        try:
            yield daemon
        finally:
            await daemon.keep()


def keep(printed: Path, kind: str, *lines: str) -> None:
    """Add a file to what is searched for private things at the end of the run."""
    if text := "\n".join(lines):
        (printed / f"{kind}-{uuid4().hex}.txt").write_text(text)


class Rules:
    """The sandbox's rules, in a file that can be rewritten while the daemon runs."""

    def __init__(self, path: Path, rules: Mapping[str, Mapping[str, object]] | None = None) -> None:
        self._path = path
        self._rules = dict(rules or {})
        self._everyone: Mapping[str, object] = {}
        self.set()

    @property
    def setting(self) -> str:
        """For SANDBOX_RULES."""
        return f"@{self._path}"

    def set(self, **for_everyone: object) -> None:
        """Replace the rule for all destinations that have none of their own."""
        self._everyone = for_everyone
        self._write()

    def add(self, rules: Mapping[str, Mapping[str, object]]) -> None:
        """Add rules for single destinations."""
        self._rules |= rules
        self._write()

    def drop(self, destinations: Sequence[str]) -> None:
        """Forget the rules for these; the file follows with the next change."""
        for destination in destinations:
            self._rules.pop(destination, None)

    def _write(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps({**self._rules, "*": self._everyone}))
        draft.replace(self._path)


@contextmanager
def locked_ledger(directory: Path) -> Iterator[None]:
    """Make the ledger unusable for the worker, as a full disk or a backup tool would."""
    connection = sqlite3.connect(directory / "session" / "ledger.db", isolation_level=None)
    try:
        connection.execute("PRAGMA busy_timeout = 20000")
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


# The queues -------------------------------------------------------------------------------------


async def declare_as_go_worker(client: Client, *, dead_letters: bool = False) -> None:
    """Make the exchange and the work queue as the Go worker does, and perhaps what ops made."""
    async with client.channel() as channel:
        exchange = await channel.declare_exchange(EXCHANGE, "direct", durable=True)
        queue = await channel.declare_queue(WORK_QUEUE, durable=True, arguments=GO_ARGUMENTS)
        await queue.bind(exchange, ROUTING_KEY)
        if dead_letters:
            dlx = await channel.declare_exchange("woragis.dlx", "direct", durable=True)
            dlq = await channel.declare_queue(DEAD_LETTERS, durable=True)
            await dlq.bind(dlx, DEAD_LETTERS)


async def prepare(amqp_url: str, kind: str) -> None:
    """Have the work queue made by the Go worker (classic), or leave it to ours (quorum)."""
    if kind == "classic":
        async with connect(amqp_url) as client:
            await declare_as_go_worker(client)


async def make_anew(arguments: Mapping[str, Any], client: Client) -> None:
    """Delete the work queue, and be faster than the worker in making it again, with these."""

    async def faster() -> bool:
        try:
            async with client.channel() as channel:
                await channel.queue_delete(WORK_QUEUE)
                queue = await channel.declare_queue(
                    WORK_QUEUE, durable=True, arguments=dict(arguments)
                )
                await queue.bind(EXCHANGE, ROUTING_KEY)
        except ChannelPreconditionFailed:
            return False
        return True

    await eventually(faster, "we made the queue")


async def nothing_waits(
    client: Client, directory: Path, retry_delays: str, within: float = 30.0
) -> None:
    """Return when nothing is ready in work queue and ladder, and the ledger holds no open job.

    Not by `rabbitmqctl list_queues`: of a quorum queue it tells what was true seconds ago.
    """
    queues = [WORK_QUEUE, *(f"{WORK_QUEUE}.retry.{label}" for label in retry_delays.split(","))]

    async def so() -> bool:
        ready = {queue: await client.count(queue) for queue in queues}
        assert not any(ready.values()), ready
        states = {state for state, _, _ in ledger(directory).jobs.values()}
        assert states <= {"SENT", "DEAD"}, states
        return True

    await eventually(so, "nothing waits", within, LOOK_SECONDS)


async def dead_letters(amqp_url: str, printed: Path) -> list[Entry]:
    """All dead letters, each with its reason, as the `dlq` command sees them."""
    settings = Settings(rabbitmq_url=SecretStr(amqp_url))
    entries = [entry async for entry in DeadLetters(settings).entries()]
    keep(
        printed,
        "letters",
        *(f"{e.message_id} {e.job_key} {e.error_type} {e.error_detail}" for e in entries),
    )
    async with connect(amqp_url) as client:
        await _keep_headers(client, printed)
    return entries


async def _keep_headers(client: Client, printed: Path) -> None:
    """Look at the dead letters once more, without acking, and keep their headers."""
    async with client.channel() as channel:
        underlay = await channel.get_underlay_channel()
        kept = []
        while isinstance((got := await underlay.basic_get(DEAD_LETTERS)).delivery, Basic.GetOk):
            kept.append(repr(got.header.properties.headers))
        keep(printed, "headers", *kept)


def texts_of(daemon: RunningDaemon) -> list[str]:
    """What recipients would have read so far, in order."""
    return [entry["text"] for entry in daemon.outbox_entries()]


async def sent(daemon: RunningDaemon, count: int, within: float = 30.0) -> None:
    """Return when the outbox has so many messages; cheaper than reading all of them each time."""

    def enough() -> bool:
        assert daemon.outbox.exists()
        assert daemon.outbox.read_bytes().count(b"\n") >= count
        return True

    await eventually(enough, f"{count} sent", within, 0.02 if count < MANY else LOOK_SECONDS)


def seeded() -> Random:
    """A source of chance; its seed is printed when the test fails."""
    seed = uuid4().int % 2**32
    print(f"seed {seed}")  # noqa: T201  pytest shows it with a failure.
    return Random(seed)
