"""What was measured where there was more of something, and the report on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from benchmarks.compare.plan import WARM
from benchmarks.compare.report import table
from benchmarks.contenders.contract import Result
from benchmarks.processes import machine

MOST = {"messages in the queue": 1.10, "jobs in the ledger": 1.25}
"""The most a job may cost where there is most, in what it costs where there is least."""


class More(StrEnum):
    """What there may be more of."""

    MESSAGES = "messages in the queue"
    JOBS = "jobs in the ledger"
    PREFETCH = "prefetch"
    EXPIRED = "jobs to be forgotten"


@dataclass(frozen=True, slots=True)
class Cell:
    """So much of something."""

    more: More
    value: int


@dataclass(slots=True)
class Results:
    """What was measured, round by round."""

    rounds: dict[Cell, list[Result]] = field(default_factory=dict)

    def add(self, cell: Cell, result: Result) -> None:
        """Add a measurement to the round that goes on."""
        self.rounds.setdefault(cell, []).append(result)

    def cells(self, more: More) -> list[Cell]:
        """What was measured of this, the least first."""
        return sorted((each for each in self.rounds if each.more is more), key=lambda c: c.value)

    def cost(self, cell: Cell) -> float:
        """Microseconds of processor time per job, the median of all rounds."""
        return 1e6 * median(each.cpu_each for each in self.rounds[cell])

    def ratio(self, cell: Cell) -> float:
        """What a job costs here in what it costs where there is least: the rounds' median."""
        least = self.rounds[self.cells(cell.more)[0]]
        both = zip(self.rounds[cell], least, strict=True)
        return median(here.cpu_each / there.cpu_each for here, there in both)


def report(results: Results, jobs: int, loads: Sequence[float]) -> str:
    """All of it, in Markdown."""
    rounds = len(next(iter(results.rounds.values())))
    lines = [
        "# What a job costs where there is more of everything",
        "",
        "Written by `make bench-scaling`; README.md says how to read it.",
        "",
        f"{machine()}; load {min(loads):.1f} to {max(loads):.1f}, ours included.",
        f"{jobs} jobs each, {rounds} interleaved round(s), classic queue.",
    ]
    for more in (More.MESSAGES, More.JOBS, More.PREFETCH):
        lines += ["", f"## More {more}", "", *_costs(results, more)]
    lines += ["", "## While the ledger forgets", "", *_delays(results)]
    return "\n".join(lines) + "\n"


def _costs(results: Results, more: More) -> Iterator[str]:
    rows = [
        (
            f"{cell.value:,}",
            f"{results.cost(cell):.0f}",
            f"{results.ratio(cell):.2f}",
            f"{median(each.rate for each in results.rounds[cell]):.0f}",
        )
        for cell in results.cells(more)
    ]
    yield from table((str(more), "CPU µs", "of the first", "jobs/s"), rows, words=0)
    if most := MOST.get(more):
        ratio = results.ratio(results.cells(more)[-1])
        yield ""
        yield f"At most {most:.2f} was aimed at: {'reached' if ratio <= most else '**missed**'}."


def _delays(results: Results) -> Iterator[str]:
    """From publishing to the call of the sender, in milliseconds."""
    rows = []
    for cell in results.cells(More.EXPIRED):
        rounds = [sorted(each.delays[WARM:]) for each in results.rounds[cell]]
        shares = (0.5, 0.99, 1.0)
        found = [
            median(delays[min(len(delays) - 1, int(share * len(delays)))] for delays in rounds)
            for share in shares
        ]
        rows.append((f"{cell.value:,}", *(f"{1000 * each:.2f}" for each in found)))
    yield "From publishing to the call of the sender, 20 messages a second, from the start on."
    yield ""
    yield from table((str(More.EXPIRED), "p50 ms", "p99 ms", "longest ms"), rows, words=0)
