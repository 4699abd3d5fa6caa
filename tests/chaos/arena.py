"""Where a fault takes place: RabbitMQ, a way to it, publishers, a daemon, and the checker."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic, time
from typing import Self

from tests.chaos.scenario import Kind
from tests.integration.campaign import Watched, declare_as_go_worker, worker
from tests.integration.fault_campaign import MAX_ATTEMPTS, Campaign
from tests.integration.gate import Gate, Way, gate
from tests.integration.messages import Planned
from tests.integration.reckoning import Reckoning, ledger
from tests.support.amqp import WORK_QUEUE, connect
from tests.support.daemon import RunningDaemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.login import Login
from whatsapp_worker.demo.rabbitmq import definitions

PLANNED_AT_ONCE = 500
"""Messages of a load that are planned together; their rules must stand before the first of them."""
RULES_KEPT = 600
"""Destinations with a rule of their own: those of the last eight thousand messages or so.  A busy
machine may leave the worker minutes behind the load, and it has to find the rule all the same."""
RULES_ARE_READ = 0.3
"""Seconds after which the sandbox has surely looked at its rules (it looks ten times a second)."""
LIVEZ_EVERY = 0.5
DOES_NOT_ANSWER = 5.0
"""Seconds of silence of a living process that count as no answer."""
DRAINED_WITHIN = 120.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured, and the limit it has to keep.

    Attributes:
        name: what it is.
        value: the figure.
        unit: of both.
        at_most: the limit; None when there is none to keep.
    """

    name: str
    value: float
    unit: str
    at_most: float | None

    @property
    def kept(self) -> bool:
        """Whether it is within its limit."""
        return self.at_most is None or self.value <= self.at_most

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        limit = "" if self.at_most is None else f" (at most {self.at_most:g})"
        return f"{self.name}: {self.value:.4g}{unit}{limit}{'' if self.kept else '  TOO MUCH'}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The set arithmetic after everything has healed and drained.

    Attributes:
        attempted: messages that were published.
        confirmed: those that RabbitMQ took for sure.
        sent: messages the recipients got.
        twice: how many of them came a second time.
        doubted: jobs of which the ledger says that a send ended without an answer.
        dead: dead letters.
        parked: those among them of which nobody knows whether they were sent.
        waiting: messages still in the work queue or on the retry ladder.
        lost: L, confirmed and neither sent nor dead-lettered, or without the dead letter it needs.
        unexplained: D, sent a second time although no send was in doubt.
        unexpected: dead letters that should not be there, or are there too often.
    """

    attempted: int
    confirmed: int
    sent: int
    twice: int
    doubted: int
    dead: int
    parked: int
    waiting: int
    lost: int
    unexplained: int
    unexpected: int

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.unexplained or self.unexpected or self.waiting)


@dataclass(slots=True)
class Arena(Campaign):
    """A campaign with a fault in it, and a record of what happened.

    Attributes:
        kind: of the work queue.
        scale: 1 for the full campaign; counts of faults and messages are multiplied by it.
        door: the way from the daemon to RabbitMQ.
        figures: what was measured.
        timeline: what happened, with the seconds since the beginning.
        ill: answers of /livez other than 200, while that was to be expected of nobody.
        verdict: the arithmetic, once it is done.
        named_only: publish nothing that has no name of its own.
        once_only: publish no job a second time: where the ledger is lost, that is a new job.
    """

    kind: Kind = Kind.QUORUM
    scale: float = 1.0
    door: Gate = field(default_factory=lambda: Gate(0))
    figures: list[Figure] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)
    ill: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    named_only: bool = False
    once_only: bool = False
    _begun: float = field(default_factory=monotonic)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        """Make the work queue and open the door."""
        if self.kind is Kind.CLASSIC:
            async with connect(self.url) as client:
                await declare_as_go_worker(client)
        async with gate(self.node.login.port) as self.door:
            await self.door.set(Way.OPEN)
            yield self

    def times(self, number: int) -> int:
        """So many, or the share of them that the scale asks for; at least one."""
        return max(1, round(number * self.scale))

    def note(self, what: str) -> None:
        """Enter what happens in the timeline."""
        self.timeline.append(f"{monotonic() - self._begun:8.3f}  {what}")

    def measured(
        self, name: str, value: float, unit: str = "", at_most: float | None = None
    ) -> None:
        """Enter a figure; one beyond its limit fails the scenario, which goes on all the same."""
        self.figures.append(Figure(name, value, unit, at_most))
        self.note(str(self.figures[-1]))

    @asynccontextmanager
    async def worker(
        self, *, ready: bool = True, may_be_ill: bool = False, **settings: str
    ) -> AsyncIterator[Watched]:
        """Run the daemon behind the door.

        Args:
            ready: wait for it.
            may_be_ill: whether /livez may say no, or nothing.
            settings: more of them, by environment name; they win over the arena's.
        """
        given = {**self.settings, **settings}
        async with worker(self.door_url, self.directory, self.printed, **given) as daemon:
            self.note("daemon started")
            watching = asyncio.create_task(self._watch(daemon)) if not may_be_ill else None
            try:
                if ready:
                    await daemon.ready()
                    self.note("daemon ready")
                yield daemon
            finally:
                if watching:
                    watching.cancel()

    @property
    def door_url(self) -> str:
        """The AMQP URL of its virtual host by way of the door."""
        login = self.node.login
        return Login(self.door.port, login.user, login.password, self.vhost).url

    @asynccontextmanager
    async def load(self, rate: float) -> AsyncIterator[None]:
        """Publish messages of every kind, so many a second, for as long as the context lasts."""
        until = asyncio.Event()
        chunk = self._plan(PLANNED_AT_ONCE)
        await asyncio.sleep(RULES_ARE_READ)

        def stream() -> Iterator[Planned]:
            now = chunk
            while True:
                ahead = self._plan(PLANNED_AT_ONCE)  # Its rules are read long before it comes.
                yield from now
                now = ahead

        pouring = asyncio.create_task(self.publisher.pour(stream(), rate, until))
        try:
            yield
        finally:
            until.set()
            await pouring

    def _plan(self, size: int) -> list[Planned]:
        made = self.planner.mixed(size, MAX_ATTEMPTS, conflicts=False)
        rules = self.planner.rules
        old = list(rules)[:-RULES_KEPT]  # A load that lasts would let the sandbox grow.
        for destination in old:
            del rules[destination]
        self.rules.drop(old)
        self.rules.add(rules)
        return [
            each
            for each in made
            if (each.key or each.reason or not self.named_only)
            and not (self.once_only and each.kind.startswith("again"))
        ]

    async def other_user(self, name: str) -> str:
        """Make a user who may do everything in this virtual host; returns the AMQP URL."""
        login = replace(self.node.login, user=f"{name}-{self.vhost}", vhost=self.vhost)
        made = json.dumps(definitions(login, self.vhost))
        await asyncio.to_thread(self.node.ctl, "import_definitions", stdin=made)
        return login.url

    async def dead_lettering_tries_again(self, after: int) -> None:
        """Have RabbitMQ's own dead-lettering try again after so many seconds, not 180."""
        name = "dead_letter_worker_publisher_confirm_timeout"
        await self.evaluated(f"application:set_env(rabbit, {name}, {after * 1000})")

    async def publish_all(self, planned: list[Planned]) -> None:
        """Publish these at full speed, their rules first."""
        self.rules.add(self.planner.rules)
        await asyncio.sleep(RULES_ARE_READ)
        await self.publisher.publish(planned)

    # The checker ----------------------------------------------------------------------------------

    async def finish(self, daemon: RunningDaemon, within: float = DRAINED_WITHIN) -> Reckoning:
        """Wait until everything has had its fate, stop the daemon, and do the arithmetic."""
        self.note("no more faults: everything has to drain")
        try:
            return await Campaign.finish(self, daemon, within)
        except AssertionError:
            await self.reckon(daemon)  # To say what is missing.
            raise

    async def reckon(self, daemon: RunningDaemon) -> Reckoning:
        """Do the arithmetic; the daemon has ended."""
        found = await Campaign.reckon(self, daemon)
        kept = ledger(self.directory)
        publisher = self.publisher
        published = [*publisher.confirmed, *publisher.unknown]
        async with connect(self.url) as client:
            rungs = (f"{WORK_QUEUE}.retry.{r}" for r in self.settings["RETRY_DELAYS"].split(","))
            waiting = [await client.count(queue) or 0 for queue in (WORK_QUEUE, *rungs)]
        self.verdict = Verdict(
            attempted=len(published),
            confirmed=len(publisher.confirmed),
            sent=found.sent,
            twice=found.surplus.total(),
            doubted=len(kept.doubtful),
            dead=found.dead,
            parked=len(found.parked),
            waiting=sum(waiting),
            lost=found.lost.total() + found.letters_missing.total(),
            unexplained=found.unexplained(published, kept).total(),
            unexpected=found.letters_wrong.total(),
        )
        self.note(str(self.verdict))
        return found

    # What is seen from outside --------------------------------------------------------------------

    async def sends_again(self, daemon: RunningDaemon, within: float = 30.0) -> None:
        """Return when one more message was sent than by now."""

        def size() -> int:  # Cheaper than to read it.
            return daemon.outbox.stat().st_size if daemon.outbox.exists() else 0

        before = size()
        await eventually(lambda: size() > before, "it sends again", within)

    def sent_at(self, daemon: RunningDaemon) -> list[float]:
        """When each message was sent, Unix seconds, in order."""
        entries = daemon.outbox_entries()
        return [datetime.fromisoformat(entry["at"]).timestamp() for entry in entries]

    def next_after(self, moments: list[float], daemon: RunningDaemon) -> list[float]:
        """For each moment (Unix seconds), how long it took until the next send, in seconds."""
        sends = self.sent_at(daemon)
        found = []
        for moment in moments:
            later = next((at - moment for at in sends if at >= moment), None)
            if later is not None:
                found.append(later)
        return found

    async def _watch(self, daemon: RunningDaemon) -> None:
        """Note whenever /livez says anything but yes, once it has said so."""
        seen, silent_since = False, None
        while True:
            code, body = await daemon.get("/livez")
            if code == 200:
                seen, silent_since = True, None
            elif code:
                self._unwell(f"/livez says {code}: {body}")
            elif seen and daemon.process.running:
                silent_since = silent_since or monotonic()
                if monotonic() - silent_since > DOES_NOT_ANSWER:
                    self._unwell("/livez does not answer")
            await asyncio.sleep(LIVEZ_EVERY)

    def _unwell(self, what: str) -> None:
        self.note(what)
        self.ill.append(what)


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def now() -> float:
    """Unix seconds, the clock of the outbox."""
    return time()
