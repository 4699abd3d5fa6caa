"""A campaign with faults in it: the daemon is started again and again, then the arithmetic."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager as Context
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Self

from tests.integration.campaign import (
    LOOK_SECONDS,
    Publisher,
    Rules,
    dead_letters,
    nothing_waits,
    texts_of,
    worker,
)
from tests.integration.gate import Gate, Way, gate
from tests.integration.messages import Planner
from tests.integration.reckoning import Reckoning, ledger, reckon
from tests.support.amqp import DEAD_LETTERS, WORK_QUEUE, Client, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node

MAX_ATTEMPTS = 5


@dataclass(slots=True)
class Campaign:
    """Messages of every kind, a daemon that is started again and again, and the arithmetic."""

    node: Node
    vhost: str
    directory: Path
    printed: Path
    settings: dict[str, str]
    planner: Planner
    rules: Rules
    publisher: Publisher

    @classmethod
    def prepare(
        cls, node: Node, vhost: str, directory: Path, printed: Path, seed: Random, **settings: str
    ) -> Self:
        """Prepare one in a directory of its own; the rest as the attributes."""
        directory.mkdir()
        rules = Rules(directory / "rules.json")
        given = {
            "SANDBOX_RULES": rules.setting,
            "RETRY_DELAYS": "200ms,400ms",
            "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            **settings,
        }
        publisher = Publisher(replace(node.login, vhost=vhost).url)
        return cls(node, vhost, directory, printed, given, Planner(seed), rules, publisher)

    @property
    def url(self) -> str:
        """The AMQP URL of its virtual host."""
        return replace(self.node.login, vhost=self.vhost).url

    def daemon(self) -> Context[RunningDaemon]:
        """Run the daemon."""
        return worker(self.url, self.directory, self.printed, **self.settings)

    @asynccontextmanager
    async def daemon_behind_a_gate(self) -> AsyncIterator[tuple[RunningDaemon, Gate]]:
        """Run the daemon, ready, with slow sends and a way to RabbitMQ that can be shut."""
        self.rules.set(latency=0.4)
        async with gate(self.node.login.port) as door:
            await door.set(Way.OPEN)
            url = replace(self.node.login, vhost=self.vhost, port=door.port).url
            async with worker(url, self.directory, self.printed, **self.settings) as daemon:
                await daemon.ready()
                yield daemon, door

    async def publish(self, size: int) -> None:
        """Publish so many messages of every kind."""
        planned = self.planner.mixed(size, MAX_ATTEMPTS, conflicts=False)
        self.rules.add(self.planner.rules)
        await self.publisher.publish(planned, window=20)

    async def evaluated(self, expression: str) -> list[int]:
        """Have RabbitMQ's node evaluate Erlang; returns the numbers in the value.

        Args:
            expression: without the full stop.  One that does much at once is worth it: each call of
                rabbitmqctl takes longer than a test wants to wait.
        """
        value: str = await asyncio.to_thread(self.node.ctl, "eval", f"{expression}.")
        return [int(number) for number in re.findall(r"\d+", value)]

    async def finish(self, daemon: RunningDaemon, within: float = 60.0) -> Reckoning:
        """Wait until everything has had its fate, stop the daemon, and do the arithmetic."""
        jobs = {each.job for each in self.publisher.confirmed}
        async with connect(self.url) as client:

            async def all_through() -> bool:
                gone = daemon.outbox.read_bytes().count(b"\n") if daemon.outbox.exists() else 0
                lying = await client.count(DEAD_LETTERS) or 0
                ready = await client.count(WORK_QUEUE)
                assert gone + lying >= len(jobs), (gone, lying, len(jobs), ready)
                return True

            await eventually(all_through, "sent + dead letters = jobs", within, LOOK_SECONDS)
            await self.nothing_waits(client)
            assert await daemon.stop() == 0
            assert await client.count(WORK_QUEUE) == 0
        return await self.reckon(daemon)

    async def nothing_waits(self, client: Client) -> None:
        """Return when no job is under way."""
        await nothing_waits(client, self.directory, self.settings["RETRY_DELAYS"])

    async def reckon(self, daemon: RunningDaemon) -> Reckoning:
        """Do the arithmetic."""
        letters = await dead_letters(self.url, self.printed)
        publisher = self.publisher
        return reckon(publisher.confirmed, texts_of(daemon), letters, publisher.unknown)

    def excuses(self, result: Reckoning) -> bool:
        """Whether each second send is of a job that is on record as having been in doubt."""
        published = [*self.publisher.confirmed, *self.publisher.unknown]
        return result.excused(published, ledger(self.directory))

    def never_in_doubt(self) -> bool:
        """Whether no send was ever in doubt, so that nothing can excuse a second one."""
        assert ledger(self.directory).doubtful == set()
        return True


Start = Callable[..., Campaign]
"""Prepares a campaign; see the fixture `campaign`."""


async def mid_send(run: Campaign) -> None:
    """Return when a send has begun and not ended."""
    await eventually(lambda: sends_under_way(run), "a send has begun")


def sends_under_way(run: Campaign) -> int:
    """How many sends have begun and not ended, as the ledger tells."""
    jobs = ledger(run.directory).jobs.values()
    return sum(state == "SENDING" for state, _, _ in jobs)


async def paused(daemon: RunningDaemon, times: int) -> None:
    """The log, because the metric is a sample that may be a second old."""
    await eventually(lambda: daemon.printed.count("paused (whatsapp): the") == times, "a pause")


async def long_pause(daemon: RunningDaemon, times: int) -> None:
    """Return when so many pauses have lasted until everything held was given back."""
    await eventually(lambda: daemon.printed.count("is given back") == times, "a long pause")


async def all_ready(client: Client, count: int) -> bool:
    """Whether so many messages are ready in the work queue; says how many are."""
    ready = await client.count(WORK_QUEUE)
    assert ready == count, ready
    return True


async def is_zero(daemon: RunningDaemon, sample: str) -> bool:
    """Whether a sample of /metrics is 0."""
    return await daemon.metric(sample) == 0


def redelivered(daemon: RunningDaemon) -> int:
    """How many deliveries were not the first of their message, as the log tells."""
    return daemon.printed.count('"redelivered": true')
