"""What goes wrong while messages are under way, and the arithmetic afterwards.

L, what was confirmed and neither sent nor dead-lettered, is 0 throughout.  D, what was sent twice
although no send of it was ever in doubt, is 0 throughout.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.integration.campaign import (
    KINDS,
    Publisher,
    Reckoning,
    Rules,
    dead_letters,
    ledger,
    nothing_waits,
    prepare,
    reckon,
    seeded,
    sent,
    texts_of,
    worker,
)
from tests.integration.messages import Planned, Planner
from tests.support.amqp import (
    DEAD_LETTERS,
    EXCHANGE,
    ROUTING_KEY,
    WORK_QUEUE,
    connect,
    envelope,
)
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.find import Node

MAX_ATTEMPTS = 5
REDELIVERED = "worker_deliveries_redelivered_total"
PAUSED = 'worker_paused{reason="whatsapp"}'


@dataclass(slots=True)
class Place:
    """Where a campaign takes place, and how its daemon is started, again and again."""

    node: Node
    vhost: str
    kind: str
    directory: Path
    printed: Path
    planner: Planner
    settings: dict[str, str]
    rules: Rules
    publisher: Publisher

    @property
    def url(self) -> str:
        """The AMQP URL of its virtual host."""
        return replace(self.node.login, vhost=self.vhost).url

    def daemon(self, **settings: str) -> Any:
        """Run a daemon here."""
        return worker(self.url, self.directory, self.printed, **self.settings, **settings)

    async def publish(self, size: int) -> None:
        """Publish so many messages of every kind."""
        planned = self.planner.mixed(size, MAX_ATTEMPTS, conflicts=False)
        self.rules.renew(self.planner.rules)
        await self.publisher.publish(planned, window=20)

    async def finish(self, daemon: RunningDaemon) -> Reckoning:
        """Wait until everything has had its fate, stop the daemon, and do the arithmetic."""
        possible = [*self.publisher.confirmed, *self.publisher.unknown]
        wanted = {each.job: each for each in self.publisher.confirmed}.values()

        async def all_lie() -> bool:
            async with connect(self.url) as client:
                lying = await client.count(DEAD_LETTERS) or 0
            gone = daemon.outbox.read_bytes().count(b"\n") if daemon.outbox.exists() else 0
            assert gone + lying >= len(wanted), (gone, lying, len(wanted))
            return True

        await eventually(all_lie, "all have had their fate", 60)
        await nothing_waits(self.node, self.vhost)
        assert await daemon.stop() == 0
        assert {each.body for each in possible} >= {m.body for m in await self._lying()}
        return await self.reckon(daemon)

    async def reckon(self, daemon: RunningDaemon) -> Reckoning:
        """Do the arithmetic."""
        return reckon(
            self.publisher.confirmed,
            texts_of(daemon),
            await self._lying(),
            self.publisher.unknown,
        )

    async def _lying(self) -> list[Any]:
        return await dead_letters(self.url, self.printed)


def place(
    node: Node, vhost: str, kind: str, directory: Path, printed: Path, random: Random, **given: str
) -> Place:
    """Prepare a campaign."""
    directory.mkdir(exist_ok=True)
    planner = Planner(random)
    rules = Rules(directory / "rules.json", latency=0.003)
    settings = {
        "SANDBOX_RULES": rules.setting,
        "RETRY_DELAYS": "200ms,400ms",
        "MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        **given,
    }
    url = replace(node.login, vhost=vhost).url
    return Place(
        node, vhost, kind, directory, printed, planner, settings, rules, Publisher(url)
    )
