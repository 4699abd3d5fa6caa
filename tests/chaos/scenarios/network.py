"""The way between the daemon and RabbitMQ breaks."""

import asyncio
from time import monotonic

from tests.chaos.arena import Arena, now, percentile
from tests.chaos.scenario import Kind, scenario
from tests.integration.gate import Way
from tests.support.eventually import eventually

HOLE_SECONDS = 60.0
ONE_WAY_SECONDS = 30.0
NOTICED_WITHIN = 35.0
"""Seconds: three heartbeats of ten, and a little."""
DELAY = 0.15
"""Seconds that a slow network takes one way: a link by satellite, or one that is full."""


@scenario(
    "the TCP connection to RabbitMQ is reset under load: 500 times on the quorum queue, 100 times "
    "on the classic one",
    seconds=100,
    quick=15,
    alone=True,
)
async def connection_reset(arena: Arena) -> None:
    resets: list[float] = []
    async with arena.worker() as daemon:
        async with arena.load(rate=60):
            for _ in range(arena.times(500 if arena.kind is Kind.QUORUM else 100)):
                arena.door.reset()
                resets.append(now())
                await arena.sends_again(daemon)
                await asyncio.sleep(arena.planner.random.uniform(0.1, 0.3))
        await arena.finish(daemon)
    waited = arena.next_after(resets, daemon)
    arena.measured("resets", len(resets))
    arena.measured("time to the next send, p50", percentile(waited, 0.5), "s", at_most=0.1)
    arena.measured("time to the next send, p99", percentile(waited, 0.99), "s", at_most=0.5)


@scenario(
    "for a minute nothing passes between the daemon and RabbitMQ, and no connection ends",
    seconds=75,
    quick=32,
)
async def black_hole(arena: Arena) -> None:
    await _hole(arena, Way.HOLE, HOLE_SECONDS)


@scenario(
    "for half a minute RabbitMQ hears nothing of the daemon, which hears RabbitMQ",
    seconds=45,
    quick=32,
    kinds=(Kind.QUORUM,),
)
async def black_hole_to_broker(arena: Arena) -> None:
    await _hole(arena, Way.HOLE_TO_BROKER, ONE_WAY_SECONDS)


@scenario(
    "for half a minute the daemon hears nothing of RabbitMQ, which hears the daemon",
    seconds=45,
    quick=32,
    kinds=(Kind.CLASSIC,),
)
async def black_hole_to_worker(arena: Arena) -> None:
    await _hole(arena, Way.HOLE_TO_WORKER, ONE_WAY_SECONDS)


async def _hole(arena: Arena, way: Way, seconds: float) -> None:
    """Let data vanish for so long, and at least until the daemon says so."""
    async with arena.worker() as daemon:
        async with arena.load(rate=30):
            await arena.sends_again(daemon)
            await arena.door.set(way)
            fell = monotonic()
            await eventually(
                lambda: daemon.status("/readyz", 503), "it is noticed", 2 * NOTICED_WITHIN
            )
            noticed = monotonic() - fell
            arena.measured("noticed after", noticed, "s", at_most=NOTICED_WITHIN)
            await asyncio.sleep(max(0.0, seconds * arena.scale - noticed))
            await arena.door.set(Way.OPEN)
            healed = now()
            arena.note("the way is open again")
            await arena.sends_again(daemon)
        await arena.finish(daemon)
    (waited,) = arena.next_after([healed], daemon)
    arena.measured("time to the next send", waited, "s", at_most=2.0)


@scenario(
    "nothing listens where RabbitMQ should be, or it hangs up at the first word, again and again",
    seconds=25,
    quick=10,
    kinds=(Kind.QUORUM,),
)
async def connection_refused(arena: Arena) -> None:
    opened: list[float] = []
    random = arena.planner.random
    async with arena.worker() as daemon:
        async with arena.load(rate=30):
            for _ in range(arena.times(10)):
                await arena.sends_again(daemon)
                for way in random.sample([Way.SHUT, Way.SLAM], 2):
                    await arena.door.set(way)
                    await asyncio.sleep(random.uniform(0.1, 1.0))
                await arena.door.set(Way.OPEN)
                opened.append(now())
            await arena.sends_again(daemon)
        await arena.finish(daemon)
    waited = arena.next_after(opened, daemon)
    arena.measured("time to the next send, longest", max(waited), "s", at_most=3.0)


@scenario(
    "whatever the daemon and RabbitMQ say takes 0.15 s longer each way, a new login included",
    seconds=35,
    quick=20,
    kinds=(Kind.CLASSIC,),
)
async def slow_network(arena: Arena) -> None:
    """The heartbeat is short, so that several pass in the time."""
    async with arena.worker(RABBITMQ_HEARTBEAT="2") as daemon:
        arena.door.delay = DELAY
        async with arena.load(rate=6):
            before = len(daemon.outbox_entries())
            begun = monotonic()
            await asyncio.sleep(18 * arena.scale + 2)
            sent = len(daemon.outbox_entries()) - before
            arena.measured("sends a second, delayed", sent / (monotonic() - begun))
            lost = daemon.printed.count("was lost")
            arena.measured("connections lost without a cause", lost, at_most=0)
            arena.door.reset()
            cut = now()
            await arena.sends_again(daemon)
        arena.door.delay = 0.0
        await arena.finish(daemon)
    (waited,) = arena.next_after([cut], daemon)
    arena.measured("time from a reset to the next send, delayed", waited, "s")
