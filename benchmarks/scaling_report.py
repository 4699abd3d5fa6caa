"""The report on what was measured where there was more of something."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from benchmarks.compare.report import table
from benchmarks.compare.results import CPU, LONGEST, P50, P99, RATE, Results
from benchmarks.processes import machine


class More(StrEnum):
    """What there may be more of."""

    MESSAGES = "messages in the queue"
    JOBS = "jobs in the ledger"
    PREFETCH = "prefetch"
    EXPIRED = "jobs to be forgotten"


MOST = {More.MESSAGES: 1.10, More.JOBS: 1.25}
"""The most a job may cost where there is most, in what it costs where there is least."""


def report(results: Results[More], jobs: int, loads: Sequence[float]) -> str:
    """All of it, in Markdown.

    Args:
        results: by what there was more of; instead of contenders, how much, the least first.
        jobs: per measurement.
        loads: of the machine, after each.
    """
    lines = [
        "# What a job costs where there is more of everything",
        "",
        "Written by `make bench-scaling`; README.md says how to read it.",
        "",
        f"{machine()}; load {min(loads):.1f} to {max(loads):.1f}, ours included.",
        f"{jobs} jobs each, {len(results.rounds[More.JOBS])} interleaved round(s), classic queue.",
    ]
    for more in (More.MESSAGES, More.JOBS, More.PREFETCH):
        lines += ["", f"## More {more}", "", *_costs(results, more)]
    lines += ["", "## While the ledger forgets", "", *_delays(results)]
    return "\n".join(lines) + "\n"


def _costs(results: Results[More], more: More) -> Iterator[str]:
    names = results.names(more)
    rows = [
        (
            name,
            f"{1e6 * results.median(more, name, CPU):.0f}",
            f"{results.ratio(more, name, names[0], CPU):.2f}",
            f"{results.median(more, name, RATE):.0f}",
        )
        for name in names
    ]
    yield from table((str(more), "CPU µs", "of the first", "jobs/s"), rows, words=0)
    if most := MOST.get(more):
        reached = results.ratio(more, names[-1], names[0], CPU) <= most
        yield ""
        yield f"At most {most:.2f} was aimed at: {'reached' if reached else '**missed**'}."


def _delays(results: Results[More]) -> Iterator[str]:
    """From publishing to the call of the sender, in milliseconds."""
    rows = [
        (
            name,
            *(
                f"{1000 * results.median(More.EXPIRED, name, delay):.2f}"
                for delay in (P50, P99, LONGEST)
            ),
        )
        for name in results.names(More.EXPIRED)
    ]
    yield "From publishing to the call of the sender, 20 messages a second, from the start on."
    yield ""
    yield from table((str(More.EXPIRED), "p50 ms", "p99 ms", "longest ms"), rows, words=0)
