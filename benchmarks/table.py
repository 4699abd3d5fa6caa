"""The report: medians of what was measured, and how the daemon compares with the bare library."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version
from statistics import median

from benchmarks.measuring import Measurement, Sample, growth
from benchmarks.plan import Plan, Workload
from benchmarks.processes import machine
from benchmarks.subjects import Kind

HEAD = (
    "| session on | workload | sender | messages/s | of bare | p50 ms | p90 ms | p99 ms "
    "| CPU ms | server's core |"
)
SHOWN_SAMPLES = 8
WARM = 5000
"""Messages after which caches and arenas have taken what they take (measured)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a measurement is of."""

    storage: str
    workload: Workload
    kind: Kind


Results = Mapping[Cell, Sequence[Measurement]]


def report(plan: Plan, results: Results, samples: Sequence[Sample], loads: Sequence[float]) -> str:
    """The whole report in Markdown."""
    lines = [
        "# Through the real library, against our own WhatsApp server",
        "",
        "Written by `make bench-whatsapp`; benchmarks/README.md says how to read it.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}; Python {python_version()}, "
        f"neonize {version('neonize')}; load {min(loads):.1f} to {max(loads):.1f}, ours included.",
        f"{plan.rounds} interleaved round(s), medians; {plan.messages} messages to one or to known "
        f"recipients, {plan.strangers} to new ones, {plan.far} with the round trip of 100 ms.",
        "",
        *_speeds(results),
        "",
        *_memory(samples),
    ]
    return "\n".join(lines) + "\n"


def _speeds(results: Results) -> Iterator[str]:
    yield HEAD
    yield "|---|---|---|" + "---:|" * (HEAD.count("|") - 4)
    for cell, rounds in sorted(results.items(), key=lambda item: _place(item[0])):
        numbers = " | ".join(
            (
                f"{_median(each.rate for each in rounds):.1f}",
                _ratio(cell, results),
                *(f"{_median(each):.1f}" for each in _milliseconds(rounds)),
                f"{_median(each.server for each in rounds):.0%}",
            )
        )
        yield f"| {cell.storage} | {cell.workload} | {cell.kind} | {numbers} |"


def _place(cell: Cell) -> tuple[str, int, int]:
    """Where it stands: what is to be compared stands together."""
    return cell.storage, list(Workload).index(cell.workload), list(Kind).index(cell.kind)


def _milliseconds(rounds: Sequence[Measurement]) -> Iterator[list[float]]:
    yield [each.p50 for each in rounds]
    yield [each.p90 for each in rounds]
    yield [each.p99 for each in rounds]
    yield [each.cpu for each in rounds]


def _ratio(cell: Cell, results: Results) -> str:
    """Within each round, since the machine is not the same in the next one."""
    bare = results[Cell(cell.storage, cell.workload, Kind.BARE)]
    pairs = zip(results[cell], bare, strict=True)
    return f"{_median(ours.rate / theirs.rate for ours, theirs in pairs):.2f}"


def _memory(samples: Sequence[Sample]) -> Iterator[str]:
    yield f"## The daemon over {samples[-1].messages} messages"
    yield ""
    if samples[-1].messages >= WARM:
        yield f"Memory grows by {growth(samples):.0f} kB per 1000 messages in the second half."
    else:
        yield "Memory settles within some thousand messages: these are too few to say how it grows."
    yield ""
    yield "| messages | resident MB | threads | descriptors |"
    yield "|---:|---:|---:|---:|"
    step = max(1, (len(samples) - 1) // SHOWN_SAMPLES)
    for each in (*samples[:-1:step], samples[-1]):
        held = each.held
        yield f"| {each.messages} | {held.rss:.1f} | {held.threads} | {held.descriptors} |"


def _median(values: Iterable[float]) -> float:
    return median(list(values))
