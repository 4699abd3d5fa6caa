"""The report in Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.compare.aims import verdicts
from benchmarks.compare.contenders import BARE, CHECKING
from benchmarks.compare.plan import PACED_SECONDS, Cell
from benchmarks.compare.results import CPU, P50, P90, P99, RATE, RSS, Quantity, Results

RATES = ("prefetch", "contender", "messages/s", "of bare", "CPU µs", "of bare", "RSS MB")
DELAYS = ("queue", "contender", "p50 ms", "of validating", "p90 ms", "p99 ms", "of validating")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how it was measured.

    Attributes:
        when: date and time.
        machine: processor, cores, operating system.
        versions: of everything that takes part.
        loads: of the machine, after each measurement.
        messages: per measurement of a backlog.
    """

    when: str
    machine: str
    versions: str
    loads: Sequence[float]
    messages: int


def report(setting: Setting, results: Results[Cell]) -> str:
    """All of it."""
    backlogs = [cell for cell in results.rounds if cell.pace is None]
    paced = [cell for cell in results.rounds if cell.pace is not None]
    lines = [
        "# What the daemon costs beside other consumers",
        "",
        "Written by `make bench`; benchmarks/README.md says how to read it.",
        "",
        f"{setting.when}; {setting.machine}; "
        f"load {min(setting.loads):.1f} to {max(setting.loads):.1f}, ours included.",
        f"{setting.versions}.",
    ]
    for kind in dict.fromkeys(cell.kind for cell in backlogs):
        cells = [cell for cell in backlogs if cell.kind == kind]
        how = f"A backlog of {setting.messages} messages, {_rounds(cells, results)}."
        lines += ["", f"## {kind.capitalize()} queue", "", how, ""]
        lines += table(RATES, _rates(cells, results), words=2)
    if paced:
        how = f"At a pace for {PACED_SECONDS} seconds, {_rounds(paced, results)}."
        lines += ["", "## From publishing to the call of the sender", "", how, ""]
        lines += table(DELAYS, _delays(paced, results), words=2)
    lines += ["", "## What it has to show", "", *_aims(results)]
    return "\n".join(lines) + "\n"


def _rounds(cells: Iterable[Cell], results: Results[Cell]) -> str:
    counts = sorted({len(results.rounds[cell]) for cell in cells})
    return f"{' or '.join(map(str, counts))} interleaved round(s)"


def _rates(cells: Iterable[Cell], results: Results[Cell]) -> Iterator[Sequence[str]]:
    for cell in cells:
        for name in results.names(cell):
            yield (
                str(cell.prefetch),
                name,
                f"{results.median(cell, name, RATE):.0f}",
                f"{results.ratio(cell, name, BARE.name, RATE):.2f}",
                f"{1e6 * results.median(cell, name, CPU):.0f}",
                f"{results.ratio(cell, name, BARE.name, CPU):.2f}",
                f"{results.median(cell, name, RSS):.1f}",
            )


def _delays(cells: Iterable[Cell], results: Results[Cell]) -> Iterator[Sequence[str]]:
    for cell in cells:
        for name in results.names(cell):

            def milliseconds(quantity: Quantity, cell: Cell = cell, name: str = name) -> str:
                return f"{1000 * results.median(cell, name, quantity):.2f}"

            yield (
                cell.conditions,
                name,
                milliseconds(P50),
                f"{results.ratio(cell, name, CHECKING.name, P50):.2f}",
                milliseconds(P90),
                milliseconds(P99),
                f"{results.ratio(cell, name, CHECKING.name, P99):.2f}",
            )


def _aims(results: Results[Cell]) -> Iterator[str]:
    rows = (
        (each.aim.words, each.cell.conditions, f"{each.ratio:.2f}", "yes" if each.met else "**no**")
        for each in verdicts(results)
    )
    yield from table(("aim", "queue", "ratio", "reached"), rows, words=2)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Iterator[str]:
    """A table in Markdown; the first columns hold words, the others numbers."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * words + "---:|" * (len(head) - words)
    for row in rows:
        yield f"| {' | '.join(row)} |"
