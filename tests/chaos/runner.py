"""Runs scenarios, side by side where nothing is measured, and keeps the evidence of failures."""

import asyncio
import shutil
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic
from uuid import uuid4

from tests.chaos.arena import Arena, Figure, Verdict
from tests.chaos.scenario import Kind, Scenario
from tests.support.privacy import leaks
from whatsapp_worker.demo.find import Node, new_node
from whatsapp_worker.demo.rabbitmq import PrivateNode

LIMIT = 5.0
"""How many times longer than it should a scenario may take before it is ended."""
LIMIT_SECONDS = 120.0
"""And so many seconds on top."""


@dataclass(frozen=True, slots=True)
class Run:
    """A scenario on a kind of queue.

    Attributes:
        scenario: which.
        kind: of the work queue.
        seed: of everything that is left to chance in it.
    """

    scenario: Scenario
    kind: Kind
    seed: int

    def __str__(self) -> str:
        return f"{self.scenario.name} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        run: of which run.
        verdict: the arithmetic; None if it came to none.
        figures: what was measured.
        problems: why it failed, a sentence each; none if it passed.
        seconds: how long it took.
        evidence: the directory with all that a failing run left behind.
    """

    run: Run
    verdict: Verdict | None
    figures: tuple[Figure, ...]
    problems: tuple[str, ...]
    seconds: float
    evidence: Path | None

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        return not self.problems


class Runner:
    """Runs scenarios.

    Args:
        scale: 1 for the full campaign.
        jobs: how many may run side by side.
        timed: whether limits of seconds, CPU and memory have to be kept; not so on a machine of
            which nobody knows what else it does.
        begun, told: told of each run before and after it.
    """

    def __init__(
        self,
        scale: float,
        jobs: int,
        timed: bool,
        begun: Callable[[Run], None],
        told: Callable[[Result], None],
    ) -> None:
        self._scale = scale
        self._timed = timed
        self._begun = begun
        self._told = told
        self._places = asyncio.Semaphore(jobs)

    async def run(self, runs: list[Run]) -> list[Result]:
        """Run them all: first what may run together, then one at a time what measures."""
        together = [run for run in runs if not run.scenario.alone]
        together.sort(key=lambda run: -run.scenario.seconds)  # So that none is left over alone.
        alone = [run for run in runs if run.scenario.alone]
        async with _node() as node, asyncio.TaskGroup() as tasks:
            several = [tasks.create_task(self._one(run, node)) for run in together]
            await asyncio.gather(*several)
            singles = [await self._one(run, node) for run in alone]
        return [*(task.result() for task in several), *singles]

    async def _one(self, run: Run, shared: Node) -> Result:
        async with self._places:
            self._begun(run)
            begun = monotonic()
            directory = Path(tempfile.mkdtemp(prefix="chaos-"))
            printed = directory / "printed"
            printed.mkdir()
            async with _node() if run.scenario.own_node else nullcontext(shared) as node:
                vhost = f"chaos-{uuid4().hex[:12]}"
                await asyncio.to_thread(node.add_vhosts, vhost)
                arena: Arena = Arena.prepare(
                    node, vhost, directory / "run", printed, Random(run.seed)
                )
                arena.kind, arena.scale = run.kind, self._scale
                problems = await self._fight(run, arena)
            problems += _judge(arena, timed=self._timed)
            result = Result(
                run,
                arena.verdict,
                tuple(arena.figures),
                tuple(problems),
                monotonic() - begun,
                directory if problems else None,
            )
            _leave(result, arena, directory)
            self._told(result)
            return result

    async def _fight(self, run: Run, arena: Arena) -> list[str]:
        limit = LIMIT * run.scenario.seconds + LIMIT_SECONDS
        try:
            async with asyncio.timeout(limit), arena.opened():
                await run.scenario.run(arena)
        except Exception as error:  # noqa: BLE001  Whatever it is, the others go on.
            arena.note("".join(traceback.format_exception(error)))
            said = f"{type(error).__name__}: {error}".splitlines() or [""]
            return [said[0][:400]]
        return []


@asynccontextmanager
async def _node() -> AsyncIterator[Node]:
    node = new_node("chaos", print)
    try:
        await asyncio.to_thread(node.start)
        yield node
    finally:
        await asyncio.to_thread(node.close)


def _judge(arena: Arena, *, timed: bool) -> list[str]:
    """What does not hold, a sentence each."""
    figures = [figure for figure in arena.figures if timed or not figure.unit]
    problems = [str(figure) for figure in figures if not figure.kept]
    if arena.verdict is None:
        problems.append("the arithmetic was never done")
    elif not arena.verdict.holds:
        problems.append(f"the promise was broken: {arena.verdict}")
    problems += arena.ill[:1]
    for file in arena.printed.iterdir():
        if found := leaks(file.read_text(errors="replace")):
            problems.append(f"private things in {file.name}: {', '.join(found)}")
    return problems


def _leave(result: Result, arena: Arena, directory: Path) -> None:
    """Delete what a run left behind, or add to it what is needed to understand a failure."""
    if result.passed:
        shutil.rmtree(directory)
        return
    told = [f"{result.run}, seed {result.run.seed}", *result.problems, "", *arena.timeline]
    (directory / "timeline.txt").write_text("\n".join(told) + "\n")
    for name, published in {
        "confirmed": arena.publisher.confirmed,
        "unknown": arena.publisher.unknown,
    }.items():
        lines = (f"{p.job}\t{p.kind}\t{p.message_id}\t{p.reason}\t{p.text}" for p in published)
        (directory / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    if isinstance(arena.node, PrivateNode):
        (directory / "rabbitmq.log").write_text(arena.node.log)


def chosen(
    scenarios: list[Scenario], kinds: tuple[Kind, ...], seed: int, within: float | None
) -> list[Run]:
    """Which runs to make, in random order; with `within` only as many as fit into that time."""
    random = Random(seed)
    runs = [
        Run(scenario, kind, random.getrandbits(32))
        for scenario in scenarios
        for kind in scenario.kinds
        if kind in kinds
    ]
    random.shuffle(runs)
    if within is None:
        return runs
    fitting, left = [], within
    for run in runs:
        if run.scenario.quick <= left:
            fitting.append(run)
            left -= run.scenario.quick
    return fitting
