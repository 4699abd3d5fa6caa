"""A long run: a random fault every few seconds, and samples of all that may grow.

`make soak` takes 30 minutes; `make soak ARGS="--minutes 720"` as long as one likes.  A short form
is one of the scenarios.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from statistics import linear_regression, median
from time import monotonic

from tests.chaos import report
from tests.chaos.arena import Arena
from tests.chaos.runner import Run as ScenarioRun
from tests.chaos.runner import Runner
from tests.chaos.scenario import BOTH, Kind, Scenario
from tests.integration.campaign import Watched, locked_ledger
from tests.integration.gate import Way
from whatsapp_worker.demo.rabbitmq import PrivateNode

MINUTES = 30.0
RATE = 30.0
"""Messages a second: a fraction of what the worker can do, so that it is idle in between."""
SAMPLE_EVERY = 5.0
WARM_UP = 0.25
"""The share of a run in which memory may still grow: caches fill, and the allocator's pools."""
MOST_GROWTH = 1.0
"""Megabytes an hour, after the warm-up."""
FLAT = 3
"""Descriptors and threads by which two medians may differ: connections that are being made."""
LONG_ENOUGH = 1200.0
"""Seconds.  In less the slope of the memory tells more of the moment than of the hour."""
PROGRESS_EVERY = 30.0

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds at a moment.

    Attributes:
        at: seconds since the beginning.
        rss: resident memory, megabytes.
        descriptors, threads: how many.
        ledger: megabytes on disk.
    """

    at: float
    rss: float
    descriptors: int
    threads: int
    ledger: float

    @classmethod
    def of(cls, pid: int, session: Path, at: float) -> "Sample":
        """Look at a process, by way of /proc."""
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        return cls(
            at=at,
            rss=int(status["VmRSS"].split()[0]) / 1024,
            descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
            threads=int(status["Threads"]),
            ledger=sum(file.stat().st_size for file in session.glob("ledger.db*")) / 2**20,
        )

    def __str__(self) -> str:
        return (
            f"{self.rss:.1f} MB, {self.descriptors} descriptors, {self.threads} threads, "
            f"ledger {self.ledger:.1f} MB"
        )


@dataclass(slots=True)
class Weather:
    """The faults of a long run; after each the worker has to be as before.

    Attributes:
        arena: where they happen.
        happened: how many of them.
    """

    arena: Arena
    happened: int = 0
    _faults: tuple[Callable[[], Awaitable[None]], ...] = field(init=False)

    def __post_init__(self) -> None:
        self._faults = (
            self._reset,
            self._black_hole,
            self._refused,
            self._slow,
            self._closed_by_force,
            self._whatsapp_away,
            self._whatsapp_slow,
            self._ledger_locked,
            self._memory_alarm,
        )

    async def rage(self, seconds: float) -> None:
        """Go on for so long."""
        random = self.arena.planner.random
        end = monotonic() + seconds
        while monotonic() < end:
            fault = random.choice(self._faults)
            self.arena.note(fault.__name__.strip("_").replace("_", " "))
            await fault()
            self.happened += 1
            await asyncio.sleep(random.uniform(1, 4))

    async def _reset(self) -> None:
        self.arena.door.reset()

    async def _black_hole(self) -> None:
        await self._way(Way.HOLE, 3)

    async def _refused(self) -> None:
        await self._way(Way.SHUT, 2)

    async def _slow(self) -> None:
        self.arena.door.delay = 0.05
        await asyncio.sleep(2)
        self.arena.door.delay = 0.0

    async def _way(self, way: Way, seconds: float) -> None:
        await self.arena.door.set(way)
        await asyncio.sleep(seconds)
        await self.arena.door.set(Way.OPEN)

    async def _closed_by_force(self) -> None:
        await self._ctl("close_all_connections", "--vhost", self.arena.vhost, "soak")

    async def _whatsapp_away(self) -> None:
        await self._everyone(offline=True)

    async def _whatsapp_slow(self) -> None:
        await self._everyone(latency=0.2)

    async def _everyone(self, **rule: object) -> None:
        self.arena.rules.set(**rule)
        await asyncio.sleep(2)
        self.arena.rules.set()

    async def _ledger_locked(self) -> None:
        with locked_ledger(self.arena.directory):
            await asyncio.sleep(1)

    async def _memory_alarm(self) -> None:
        await self._ctl("set_vm_memory_high_watermark", "0.00001")
        await asyncio.sleep(1)
        await self._ctl("set_vm_memory_high_watermark", "absolute", "512MiB")

    async def _ctl(self, *arguments: str) -> None:
        await asyncio.to_thread(self.arena.node.ctl, *arguments)


@asynccontextmanager
async def _sampling(
    arena: Arena, daemon: Watched, weather: Weather, told: Told
) -> AsyncIterator[list[Sample]]:
    """Sample the daemon for as long as the context lasts, and tell now and then."""
    samples: list[Sample] = []

    async def sample() -> None:
        begun = told_at = monotonic()
        while True:
            at = monotonic() - begun
            samples.append(Sample.of(daemon.process.pid, arena.directory / "session", at))
            if monotonic() - told_at >= PROGRESS_EVERY:
                told_at = monotonic()
                sent = daemon.outbox.read_bytes().count(b"\n") if daemon.outbox.exists() else 0
                told(f"{at / 60:6.1f} min  {weather.happened} faults, {sent} sent, {samples[-1]}")
            await asyncio.sleep(SAMPLE_EVERY)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()


async def soak(arena: Arena, seconds: float, told: Told) -> None:
    """Run for so many seconds, then do the arithmetic and judge what grew."""
    weather = Weather(arena)
    async with arena.worker() as daemon:
        async with (
            arena.load(RATE),
            _sampling(arena, daemon, weather, told) as samples,
        ):
            await weather.rage(seconds)
        await arena.finish(daemon)
    _judge(arena, samples, seconds, weather.happened)


def _judge(arena: Arena, samples: list[Sample], seconds: float, faults: int) -> None:
    warm = [sample for sample in samples if sample.at >= WARM_UP * seconds]
    third = max(1, len(warm) // 3)
    early, late = warm[:third], warm[-third:]
    slope, _ = linear_regression([s.at / 3600 for s in warm], [s.rss for s in warm])
    arena.measured("faults", faults)
    arena.measured("memory in the end", late[-1].rss, "MB")
    limit = MOST_GROWTH if seconds >= LONG_ENOUGH else None
    arena.measured("growth of the memory after the warm-up", slope, "MB/h", at_most=limit)
    for name in ("descriptors", "threads"):
        more = median(getattr(s, name) for s in late) - median(getattr(s, name) for s in early)
        arena.measured(f"more {name} late than early", more, at_most=FLAT)
    arena.measured("ledger in the end", late[-1].ledger, "MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make soak ARGS=",
        usage="make soak [ARGS='[options]']",
        description="Run the worker for long, with a random fault every few seconds.",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long ({MINUTES:g})")
    parser.add_argument("--kind", choices=list(Kind), default=Kind.QUORUM, help="of work queue")
    parser.add_argument("--seed", type=int, help="repeat a run; it is printed")
    return parser


async def _soak(given: argparse.Namespace) -> int:
    seconds = given.minutes * 60
    seed = SystemRandom().getrandbits(32) if given.seed is None else given.seed
    screen = report.Screen(1)

    async def run(arena: Arena) -> None:
        assert isinstance(arena.node, PrivateNode), "needs an installed rabbitmq-server"
        await soak(arena, seconds, lambda line: screen.say(line))

    scenario = Scenario(
        "soak", "a random fault every few seconds", run, BOTH, seconds, seconds, True, True
    )
    screen.say(f"seed {seed}, {given.minutes:g} minutes, {RATE:g} messages a second")
    once = ScenarioRun(scenario, Kind(given.kind), seed)
    (result,) = await Runner(1.0, 1, True, screen.begun, lambda _: None).run([once])
    screen.say("", report.HEADING, *report.lines_of(result))
    return 0 if result.passed else 1


def main() -> int:
    """Follow the command line; returns the exit code."""
    given = _parser().parse_args()
    logging.disable(logging.CRITICAL)  # aiormq tells of every connection that we cut.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return asyncio.run(_soak(given))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
