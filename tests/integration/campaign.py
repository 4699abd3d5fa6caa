"""Campaigns: many messages, faults while they are under way, and the arithmetic afterwards.

The publisher's own record says what RabbitMQ confirmed; the outbox, the dead-letter queue and the
ledger say what became of it.  Nothing in here asks the worker whether it did well.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic
from pydantic import SecretStr

from tests.integration.messages import Planned
from tests.support.amqp import (
    DEAD_LETTERS,
    EXCHANGE,
    ROUTING_KEY,
    WORK_QUEUE,
    Client,
    connect,
)
from tests.support.daemon import RunningDaemon, run_daemon
from tests.support.eventually import eventually
from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry
from whatsapp_worker.demo.find import Node
from whatsapp_worker.settings import Settings

GO_ARGUMENTS: dict[str, Any] = {
    "x-dead-letter-exchange": "woragis.dlx",
    "x-dead-letter-routing-key": DEAD_LETTERS,
}
"""Seed 003: the Go worker's work queue is classic, durable, with these arguments alone."""
KINDS = pytest.mark.parametrize("kind", ["quorum", "classic"])

Letter = tuple[bytes, str]
"""Body and reason of a dead letter."""

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

    async def _publish_together(self, channel: AbstractChannel, planned: list[Planned]) -> None:
        answers = await asyncio.gather(
            *(publish_one(channel, each) for each in planned), return_exceptions=True
        )
        for each, answer in zip(planned, answers, strict=True):
            (self.confirmed if answer is True else self.unknown).append(each)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        connection = await aio_pika.connect(self.url, timeout=10)
        try:
            yield await confirming(connection)
        finally:
            await connection.close()


async def confirming(connection: AbstractConnection) -> AbstractChannel:
    """A channel with confirms on which a message that reaches no queue raises."""
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    return await channel.get_underlay_channel()


async def publish_one(
    channel: AbstractChannel,
    planned: Planned,
    exchange: str = EXCHANGE,
    routing_key: str = ROUTING_KEY,
) -> bool:
    """Publish a message; true when RabbitMQ confirmed it."""
    answer = await channel.basic_publish(
        planned.body,
        exchange=exchange,
        routing_key=routing_key,
        properties=planned.properties(),
        mandatory=True,
        timeout=15,
    )
    return isinstance(answer, Basic.Ack)


# The worker and its traces ----------------------------------------------------------------------


@asynccontextmanager
async def worker(
    amqp_url: str, directory: Path, printed: Path, **settings: str
) -> AsyncIterator[RunningDaemon]:
    """Run a daemon, and keep what it leaves behind for the test that looks for private things."""
    directory.mkdir(exist_ok=True)
    async with run_daemon(amqp_url, directory, printed, **settings) as daemon:
        try:
            yield daemon
        finally:
            keep(printed, "metrics", (await daemon.get("/metrics"))[1])
            for path in ("/healthz", "/readyz"):
                keep(printed, "health", (await daemon.get(path))[1])
            with suppress(sqlite3.Error):
                keep(printed, "ledger", *(repr(row) for row in ledger(directory).rows))


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

    def _write(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps({**self._rules, "*": self._everyone}))
        draft.replace(self._path)


# The ledger -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LedgerFile:
    """What a ledger holds: whole rows, and for each key its state and count of doubts."""

    rows: tuple[tuple[object, ...], ...]
    jobs: Mapping[str, tuple[str, int, bool]]
    secret: bytes

    @property
    def doubtful(self) -> set[str]:
        """Keys of the jobs of which a send ended without an answer."""
        return {key for key, (_, unknown, _) in self.jobs.items() if unknown}

    @property
    def doubtful_without_name(self) -> int:
        """How many of those have a delivery without any key."""
        return sum(unknown > 0 and keyless for _, unknown, keyless in self.jobs.values())


def ledger(directory: Path) -> LedgerFile:
    """Read the ledger of the worker that ran in `directory`; the worker may be running."""
    path = directory / "session" / "ledger.db"
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT * FROM jobs").fetchall()
        jobs = connection.execute("SELECT key, state, unknown_count, keyless FROM jobs").fetchall()
        ((secret,),) = connection.execute("SELECT value FROM secret")
    finally:
        connection.close()
    states = {key: (state, unknown, bool(keyless)) for key, state, unknown, keyless in jobs}
    return LedgerFile(tuple(rows), states, secret)


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


async def nothing_waits(node: Node, vhost: str, within: float = 30.0) -> None:
    """Return when every queue but the dead letters is empty: nothing ready, held or in transit."""

    async def empty() -> bool:
        listed = await asyncio.to_thread(
            node.ctl, "list_queues", "-p", vhost, "name", "messages", "--no-table-headers"
        )
        counts = dict(line.rsplit("\t", 1) for line in listed.splitlines() if "\t" in line)
        return bool(counts) and not any(
            int(count) for name, count in counts.items() if name != DEAD_LETTERS
        )

    await eventually(empty, "no queue but the dead letters holds anything", within)


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


# The arithmetic ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What became of a campaign.

    Attributes:
        lost: texts of confirmed jobs that were neither sent nor dead-lettered, as often.
        surplus: texts sent more often than there are jobs with them.
        letters_missing: bodies and reasons of confirmed jobs that should lie in the dead-letter
            queue, and do not.
        letters_wrong: bodies and reasons in the dead-letter queue that should not be there.
        letters_twice: those that lie there more often than they should.
        parked: bodies that lie there because nobody knows whether they were sent.
        sent, dead, duplicates: how many jobs were sent and dead-lettered, and how many confirmed
            messages beyond the first belong to the same job.
    """

    lost: Counter[str]
    surplus: Counter[str]
    letters_missing: Counter[Letter]
    letters_wrong: Counter[Letter]
    letters_twice: Counter[Letter]
    parked: frozenset[bytes]
    sent: int
    dead: int
    duplicates: int

    def nothing_lost(self) -> bool:
        """Whether L is 0 and every dead letter is right; says what not."""
        assert (self.lost, self.letters_missing, self.letters_wrong) == (Counter(),) * 3
        return True

    def exact(self) -> bool:
        """Whether everything confirmed has had its one right fate; says what not."""
        assert (self.surplus, self.letters_twice, self.parked) == (
            Counter(),
            Counter(),
            frozenset(),
        )
        return self.nothing_lost()

    def excused(self, possible: Iterable[Planned], kept: LedgerFile) -> bool:
        """Whether each surplus belongs to a job of which a send was in doubt; says which not."""
        named = {each.text: each.ledger_key(kept.secret) for each in possible if each.key}
        unexcused = {text for text in self.surplus if named.get(text) not in kept.doubtful}
        keyless = sum(self.surplus[text] for text in unexcused if text not in named)
        assert unexcused <= {text for text in self.surplus if text not in named}
        assert keyless <= kept.doubtful_without_name
        return True


def reckon(
    confirmed: Iterable[Planned],
    sent: Iterable[str],
    letters: Iterable[Entry],
    unknown: Iterable[Planned] = (),
) -> Reckoning:
    """Set the publisher's record against outbox and dead-letter queue.

    Args:
        confirmed: must have had its fate, exactly once per job.
        sent: texts in the outbox.
        letters: the dead-letter queue.
        unknown: may have had its fate or not.
    """
    confirmed = list(confirmed)
    jobs = {each.job: each for each in confirmed}
    possible = {each.job: each for each in unknown} | jobs
    texts = Counter(sent)
    lying = Counter((entry.body, entry.error_type or "") for entry in letters)
    parked = {body for body, reason in lying if reason == "unknown_outcome"}
    rightly = Counter((each.body, each.reason) for each in possible.values() if each.reason)
    rightly += Counter((each.body, "unknown_outcome") for each in possible.values() if each.text)
    too_many = lying - rightly
    surely = [each for each in jobs.values() if each.body not in parked]
    return Reckoning(
        lost=Counter(each.text for each in surely if each.sendable) - texts,
        surplus=texts - Counter(each.text for each in possible.values() if each.sendable),
        letters_missing=Counter((each.body, each.reason) for each in surely if each.reason) - lying,
        letters_wrong=Counter({each: n for each, n in too_many.items() if each not in rightly}),
        letters_twice=Counter({each: n for each, n in too_many.items() if each in rightly}),
        parked=frozenset(parked),
        sent=texts.total(),
        dead=lying.total(),
        duplicates=len(confirmed) - len(jobs),
    )


def texts_of(daemon: RunningDaemon) -> list[str]:
    """What recipients would have read so far, in order."""
    return [entry["text"] for entry in daemon.outbox_entries()]


async def sent(daemon: RunningDaemon, count: int, within: float = 30.0) -> None:
    """Return when the outbox has so many messages; cheaper than reading all of them each time."""

    def enough() -> bool:
        assert daemon.outbox.exists()
        assert daemon.outbox.read_bytes().count(b"\n") >= count
        return True

    await eventually(enough, f"{count} sent", within)


def seeded() -> Random:
    """A source of chance; its seed is printed when the test fails."""
    seed = uuid4().int % 2**32
    print(f"seed {seed}")  # noqa: T201  pytest shows it with a failure.
    return Random(seed)
