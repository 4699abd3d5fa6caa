"""The report on starts and memory, in Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from platform import python_version
from statistics import median

from benchmarks.compare.report import table
from benchmarks.measuring import Sample
from benchmarks.processes import machine

SHOWN_SAMPLES = 10
MORE_THAN_NEONIZE = 25.0
FLAT = 2.0


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds, in order of the rounds.

    Attributes:
        python: an interpreter that does nothing.
        libraries: one that imports what the daemon imports of others.
        ready: the daemon, from exec until it consumes.
        healthcheck: `whatsapp-worker healthcheck`.
    """

    python: list[float] = field(default_factory=list)
    libraries: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    healthcheck: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Held:
    """Resident memory of a process, in MB."""

    name: str
    rss: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What processes hold.

    Attributes:
        held: the process that only connects neonize comes first.
        samples: of the daemon, while it does many jobs.
    """

    held: Sequence[Held]
    samples: Sequence[Sample]


def ratio(values: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios within each round."""
    return median(value / other for value, other in zip(values, to, strict=True))


def change(samples: Sequence[Sample]) -> float:
    """By how many MB memory changed after a tenth of the jobs: until then it warms up."""
    warm = next(each for each in samples if each.messages >= samples[-1].messages / 10)
    return samples[-1].held.rss - warm.held.rss


def report(starts: Starts, memory: Memory, load: float) -> str:
    """All of it."""
    lines = [
        "# What the daemon holds, and how long it takes to start",
        "",
        "Written by `make bench-footprint`; benchmarks/README.md says how to read it.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}; Python {python_version()}; "
        f"load {load:.1f} at the end, ours included.",
        "",
        f"## Starts, medians of {len(starts.python)}",
        "",
        *table(("what", "seconds", "of", "ratio", "aim"), _starts(starts), words=1),
        "",
        "## Resident memory",
        "",
        *table(("process", "MB", "above neonize"), _memory(memory.held), words=1),
        "",
        f"Aim: connected, at most {MORE_THAN_NEONIZE:.0f} MB above a process that only connects "
        "neonize; the same whatever the backlog.",
        "",
        f"## The daemon over {memory.samples[-1].messages} jobs",
        "",
        f"{change(memory.samples):+.1f} MB since a tenth of them was done; "
        f"aim: at most {FLAT:.0f} MB up or down.",
        "",
        *table(("jobs", "MB", "threads", "descriptors"), _samples(memory.samples), words=0),
    ]
    return "\n".join(lines) + "\n"


def _starts(starts: Starts) -> Iterator[Sequence[str]]:
    python, libraries = ("`python -c pass`", starts.python), ("importing", starts.libraries)
    rows = (
        ("`python -c pass`", starts.python, python, ""),
        ("`whatsapp-worker healthcheck`", starts.healthcheck, python, "ratio at most 4"),
        ("importing the same libraries", starts.libraries, python, ""),
        ("`whatsapp-worker run` until it consumes", starts.ready, libraries, "at most 1.5 s"),
    )
    for what, values, (other, to), aim in rows:
        yield what, f"{median(values):.3f}", other, f"{ratio(values, to):.2f}", aim


def _memory(held: Sequence[Held]) -> Iterator[Sequence[str]]:
    for each in held:
        yield each.name, f"{each.rss:.1f}", f"{each.rss - held[0].rss:+.1f}"


def _samples(samples: Sequence[Sample]) -> Iterator[Sequence[str]]:
    step = max(1, (len(samples) - 1) // SHOWN_SAMPLES)
    for each in (*samples[:-1:step], samples[-1]):
        held = each.held
        yield (
            str(each.messages),
            f"{held.rss:.1f}",
            str(held.threads),
            str(held.descriptors),
        )
