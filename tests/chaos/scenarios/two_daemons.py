"""Two daemons where there has to be one: on one session directory, and on one work queue."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from time import monotonic

from tests.chaos.arena import Arena, now, percentile
from tests.chaos.scenario import Kind, scenario
from tests.integration.campaign import Watched, worker
from tests.integration.gate import Gate, Way, gate
from tests.integration.messages import Planned, Planner
from tests.integration.reckoning import ledger
from tests.support.amqp import DEAD_LETTERS, WORK_QUEUE, Client, connect
from tests.support.eventually import eventually
from whatsapp_worker.demo.login import Login

REFUSED_WITHIN = 45.0
RATE = 12.0
"""Messages a second, and a latency that makes most faults come in the middle of a send."""
LATENCY = 0.05
FAILS_OVER_WITHIN = 60.0
FAILOVERS = {Kind.QUORUM: 10, Kind.CLASSIC: 3}
"""On a classic queue the second daemon asks only every 30 s whether the first is gone."""


@scenario(
    "a second daemon is started on the session directory of one that runs",
    seconds=30,
    quick=8,
    kinds=(Kind.QUORUM,),
)
async def two_daemons_one_directory(arena: Arena) -> None:
    async with arena.worker() as first:
        holder = f"in use by process {first.process.pid} on "
        connections = arena.door.came
        async with arena.load(rate=20):
            for _ in range(arena.times(10)):
                async with arena.worker(ready=False, may_be_ill=True) as second:
                    assert await second.exit_code(REFUSED_WITHIN) == os.EX_TEMPFAIL
                    assert holder in second.printed, second.printed
                arena.note("the second has refused to start")
                await arena.sends_again(first)
        arena.measured("connections made or lost", arena.door.came - connections, at_most=0)
        await arena.finish(first)
    assert first.printed.count("paused (") == 0
    assert arena.verdict
    arena.measured("messages sent twice", arena.verdict.twice, at_most=0)


@dataclass(slots=True)
class _Side:
    """One of the two: a directory of its own, and a way of its own to RabbitMQ.

    Attributes:
        arena: where.
        directory: of its session.
        door: its way.
    """

    arena: Arena
    directory: Path
    door: Gate
    _run: AsyncExitStack = field(default_factory=AsyncExitStack)
    _daemon: Watched | None = None

    @property
    def daemon(self) -> Watched:
        """Its daemon."""
        assert self._daemon
        return self._daemon

    @property
    def sent(self) -> int:
        """How many messages it has sent since it was started."""
        return self.daemon.printed.count('"job sent"')

    async def start(self) -> None:
        """Start its daemon."""
        arena, login = self.arena, self.arena.node.login
        url = Login(self.door.port, login.user, login.password, arena.vhost).url
        settings = {
            **arena.settings,
            "SANDBOX_OUTBOX": str(arena.directory / "outbox.jsonl"),
            "RABBITMQ_HEARTBEAT": "2s",
        }
        run = worker(url, self.directory, arena.printed, **settings)
        self._daemon = await self._run.enter_async_context(run)

    async def end(self) -> None:
        """See to it that no process stays behind."""
        await self._run.aclose()

    async def kill(self) -> None:
        """Kill its daemon."""
        self.daemon.kill()

    async def cut(self) -> None:
        """Break its connections, and let it make no others."""
        await self.door.set(Way.SHUT)

    async def lose(self) -> None:
        """Let nothing pass: both ends have to find out for themselves."""
        await self.door.set(Way.HOLE)

    async def heal(self) -> None:
        """Let it come back."""
        await self.door.set(Way.OPEN)
        if not self.daemon.process.running:
            await self.end()
            await self.start()


@scenario(
    "two daemons, each with a directory of its own, on one queue: the one that works is killed, "
    "cut off or no longer heard",
    seconds=60,
    quick=25,
)
async def two_daemons_one_queue(arena: Arena) -> None:
    arena.rules.set(latency=LATENCY)
    moments: list[float] = []
    async with _two(arena) as (first, second), connect(arena.url) as client:
        await first.start()
        await first.daemon.ready()
        await second.start()
        await _stands_by(arena, second)
        async with _load(arena):
            for number in range(arena.times(FAILOVERS[arena.kind])):
                works = await _who_works(first, second)
                other = second if works is first else first
                fault = (works.kill, works.cut, works.lose)[number % 3]
                arena.note(f"{'first' if works is first else 'second'}: {fault.__name__}")
                moments.append(now())
                await fault()
                await _takes_over(arena, other)
                await works.heal()
        arena.rules.set()
        await _drained(arena, client, first)
        for side in (first, second):
            await side.daemon.live()  # One that was just started again may not hear SIGTERM yet.
            assert await side.daemon.stop() == 0
        found = await arena.reckon(first.daemon)
    _count(arena, moments, first, second)
    arena.measured("dead letters that lie there twice", found.letters_twice.total())


@asynccontextmanager
async def _two(arena: Arena) -> AsyncIterator[tuple[_Side, _Side]]:
    async with gate(arena.node.login.port) as door:
        await door.set(Way.OPEN)
        sides = (
            _Side(arena, arena.directory, arena.door),
            _Side(arena, arena.directory.with_name("other"), door),
        )
        try:
            yield sides
        finally:
            for side in sides:
                await side.end()


async def _stands_by(arena: Arena, second: _Side) -> None:
    """Return when the second daemon stands by, and has said so if it can know."""
    if arena.kind is Kind.QUORUM:  # RabbitMQ lets it consume, gives it nothing, and tells nobody.
        await second.daemon.ready()
        return
    await second.daemon.says("perhaps because another consumer is still there")
    code, said = await second.daemon.get("/readyz")
    assert (code, "exclusive" in said) == (503, True), said


@asynccontextmanager
async def _load(arena: Arena) -> AsyncIterator[None]:
    """Publish each message once, so that whatever is sent twice was delivered twice."""
    planned = list(_stream(arena.planner, 4000))
    arena.rules.add(arena.planner.rules)
    until = asyncio.Event()
    pouring = asyncio.create_task(arena.publisher.pour(iter(planned), RATE, until))
    try:
        yield
    finally:
        until.set()
        await pouring


def _stream(planner: Planner, size: int) -> Iterator[Planned]:
    makers = (
        *(planner.good,) * 6,
        *(planner.named,) * 2,
        lambda: planner.failing(1),
        planner.refused,
        lambda: planner.invalid("no such country"),
    )
    for _ in range(size):
        yield planner.random.choice(makers)()


async def _who_works(first: _Side, second: _Side) -> _Side:
    """Return the one that sends now."""
    before = {id(side): side.sent for side in (first, second)}
    found: list[_Side] = []

    def one_sends() -> bool:
        found[:] = [side for side in (first, second) if side.sent > before[id(side)] + 1]
        return bool(found)

    await eventually(one_sends, "one of them sends", FAILS_OVER_WITHIN)
    return found[0]


async def _takes_over(arena: Arena, side: _Side) -> None:
    before, begun = side.sent, monotonic()
    await eventually(lambda: side.sent > before, "the other takes over", FAILS_OVER_WITHIN)
    arena.note(f"the other works after {monotonic() - begun:.1f} s")


async def _drained(arena: Arena, client: Client, side: _Side) -> None:
    """Return when every job has had its fate; the ledgers do not know it of each other's jobs."""
    jobs = {each.job for each in arena.publisher.confirmed}
    rungs = [f"{WORK_QUEUE}.retry.{r}" for r in arena.settings["RETRY_DELAYS"].split(",")]

    async def so() -> bool:
        ready = [await client.count(queue) or 0 for queue in (WORK_QUEUE, *rungs)]
        sent = {entry["text"] for entry in side.daemon.outbox_entries()}
        letters = await client.count(DEAD_LETTERS) or 0
        assert len(sent) + letters >= len(jobs), (len(sent), letters, len(jobs), ready)
        return not any(ready)

    await eventually(so, "sent + dead letters = jobs, and nothing waits", 90)


def _count(arena: Arena, moments: list[float], first: _Side, second: _Side) -> None:
    """Attribute every second send to the failover before it."""
    sends: dict[str, list[float]] = {}
    for entry in first.daemon.outbox_entries():
        at = datetime.fromisoformat(entry["at"]).timestamp()
        sends.setdefault(entry["text"], []).append(at)
    blamed = Counter(
        sum(moment <= at for moment in moments)
        for times in sends.values()
        for at in sorted(times)[1:]
    )
    waited = arena.next_after(moments, first.daemon)
    doubted = sum(len(ledger(side.directory).doubtful) for side in (first, second))
    assert arena.verdict
    # Neither of the ledgers knows of the other's sends: that is what this measures.
    unexplained = max(0, arena.verdict.twice - len(moments))
    arena.verdict = replace(arena.verdict, doubted=doubted, unexplained=unexplained)
    arena.measured("failovers", len(moments))
    arena.measured("messages sent twice", arena.verdict.twice, at_most=len(moments))
    most = max(blamed.values(), default=0)
    arena.measured("sent twice after one failover, at most", most, at_most=1)
    arena.measured("sent twice before any failover", blamed[0], at_most=0)
    arena.measured("time to the next send, p50", percentile(waited, 0.5), "s")
    arena.measured("time to the next send, longest", max(waited), "s")
