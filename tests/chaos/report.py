"""What is printed of a campaign, and what RELIABILITY.md quotes of it."""

import os
import platform
import sys
from pathlib import Path

from tests.chaos.runner import Result, Run
from tests.chaos.scenario import Scenario

COLUMNS = {
    "published": "attempted",
    "confirmed": "confirmed",
    "sent": "sent",
    "in doubt": "doubted",
    "twice": "twice",
    "dead": "dead",
    "L": "lost",
    "D": "unexplained",
}
"""Heading and figure of the verdict."""
NAME_WIDTH = 34
HEADING = f"{'fault':{NAME_WIDTH}} {'queue':8}" + "".join(f"{c:>10}" for c in COLUMNS) + "  seconds"


class Screen:
    """Tells what goes on: lines in any case, and what is under way where a terminal shows it."""

    def __init__(self, runs: int) -> None:
        self._left = runs
        self._under_way: list[str] = []
        self._live = sys.stdout.isatty()

    def begun(self, run: Run) -> None:
        """A run has begun."""
        self._under_way.append(str(run))
        self._status()

    def told(self, result: Result) -> None:
        """A run has ended."""
        self._left -= 1
        self._under_way.remove(str(result.run))
        self.say(*lines_of(result, colour=self._live))
        self._status()

    def say(self, *lines: str) -> None:
        """Print lines, above what is under way."""
        if self._live:
            sys.stdout.write("\r\x1b[K")
        sys.stdout.write("".join(line + "\n" for line in lines))
        sys.stdout.flush()

    def _status(self) -> None:
        if self._live and self._under_way:
            width = os.get_terminal_size().columns - 1
            text = f"{self._left} to go, now: {', '.join(self._under_way)}"
            sys.stdout.write("\r\x1b[K" + text[:width])
            sys.stdout.flush()


def lines_of(result: Result, *, colour: bool = False) -> list[str]:
    """A result as lines: the row of the table, what was measured, and what does not hold."""
    lines = [_row(result), *(f"    {figure}" for figure in result.figures)]
    red, plain = ("\x1b[31m", "\x1b[0m") if colour else ("", "")
    lines += [f"    {red}FAILED{plain} {problem}" for problem in result.problems]
    if result.evidence:
        lines.append(f"    evidence: {result.evidence}   seed: {result.run.seed}")
    return lines


def _row(result: Result) -> str:
    run, verdict = result.run, result.verdict
    cells = [getattr(verdict, name) if verdict else "-" for name in COLUMNS.values()]
    return (
        f"{run.scenario.name:{NAME_WIDTH}} {run.kind:8}"
        + "".join(f"{cell:>10}" for cell in cells)
        + f"{result.seconds:9.1f}"
    )


def summary(results: list[Result], seconds: float) -> str:
    """One line about all of them."""
    failed = [str(result.run) for result in results if not result.passed]
    faults = len({result.run.scenario.name for result in results})
    verdicts = [result.verdict for result in results if result.verdict]
    counted = (
        f"{sum(v.confirmed for v in verdicts)} confirmed, "
        f"L {sum(v.lost for v in verdicts)}, D {sum(v.unexplained for v in verdicts)}"
    )
    outcome = f"FAILED: {', '.join(failed)}" if failed else "all passed"
    return f"{faults} faults, {len(results)} runs, {counted}, {seconds / 60:.1f} min: {outcome}"


def catalogue(scenarios: list[Scenario]) -> str:
    """What there is, a line each."""
    lines = [
        f"  {each.name:{NAME_WIDTH}} {' and '.join(each.kinds):20} {each.seconds:4.0f} s  "
        f"{each.shows}"
        for each in scenarios
    ]
    return "\n".join(lines)


def markdown(results: list[Result], seed: int, seconds: float, rabbitmq: str) -> str:
    """The table for RELIABILITY.md."""
    heads = " | ".join(COLUMNS)
    rows = [f"| fault | queue | {heads} | seconds |", "|---" * (len(COLUMNS) + 3) + "|"]
    measured = []
    for result in sorted(results, key=lambda each: (each.run.scenario.name, each.run.kind)):
        run, verdict = result.run, result.verdict
        cells = " | ".join(f"{getattr(verdict, name):,}" for name in COLUMNS.values())
        rows.append(f"| `{run.scenario.name}` | {run.kind} | {cells} | {result.seconds:.0f} |")
        measured += [f"* `{run.scenario.name}`, {run.kind}: {each}" for each in result.figures]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, RabbitMQ {rabbitmq}"
    head = f"Seed {seed}; {machine}; {summary(results, seconds)}."
    return "\n".join([head, "", *rows, "", "Measured in it:", "", *measured, ""])


def write_into(document: Path, text: str) -> None:
    """Put the figures between the two marks of a document."""
    begin, end = "<!-- figures of the last run -->\n", "<!-- end of figures -->\n"
    head, _, rest = document.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    document.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
