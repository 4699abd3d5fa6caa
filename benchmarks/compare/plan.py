"""How much is measured, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

CLASSIC, QUORUM = "classic", "quorum"

WARM = 5
"""Messages at a pace that are not counted: the first ones load what is loaded late."""
PACED_SECONDS = 10
"""For how long messages come at a pace."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Under which conditions everybody is compared.

    Attributes:
        kind: of the queue.
        prefetch: messages held at a time.
        pace: messages per second; None: all of them are there from the beginning.
    """

    kind: str
    prefetch: int
    pace: int | None = None

    @property
    def conditions(self) -> str:
        """In few words."""
        words = f"{self.kind} {self.prefetch}"
        return words if self.pace is None else f"{words}, {self.pace}/s"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often at most; in each round everybody is measured once in every cell.
        messages: per measurement of a backlog.
        cells: the conditions.
        seconds: no round is begun that would probably end later than this.
    """

    rounds: int
    messages: int
    cells: tuple[Cell, ...]
    seconds: float = float("inf")

    def count(self, cell: Cell) -> int:
        """How many messages a measurement takes."""
        return self.messages if cell.pace is None else WARM + PACED_SECONDS * cell.pace

    def another(self, rounds: int, elapsed: float) -> bool:
        """Whether to begin another round, so many having taken so long."""
        if rounds == 0:
            return True
        return rounds < self.rounds and elapsed * (rounds + 1) / rounds <= self.seconds


BACKLOG = Plan(
    rounds=9,
    messages=3000,
    cells=tuple(Cell(kind, prefetch) for kind in (CLASSIC, QUORUM) for prefetch in (1, 10, 100)),
)
PACED = Plan(
    rounds=3,
    messages=0,
    cells=tuple(
        Cell(kind, prefetch, pace)
        for kind, prefetch in ((CLASSIC, 1), (QUORUM, 10))
        for pace in (1, 20, 200)
    ),
)
QUICK = Plan(
    rounds=3,
    messages=500,
    cells=tuple(Cell(CLASSIC, prefetch) for prefetch in (10, 100)),
    seconds=150.0,
)


def rotated(everybody: Sequence[T], by: int) -> list[T]:
    """The same order, begun elsewhere: nobody always runs on a machine somebody has just warmed."""
    start = by % len(everybody)
    return [*everybody[start:], *everybody[:start]]
