"""What the comparison has to show, and whether it does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.compare.contenders import (
    BARE,
    CELERY_PREFORK,
    CELERY_SOLO,
    CHECKING,
    DRAMATIQ,
    FASTSTREAM,
    LEDGER_OFF,
    OURS,
    TASKIQ,
    Contender,
)
from benchmarks.compare.plan import Cell
from benchmarks.compare.results import CPU, P50, P99, RATE, Quantity, Results


def _backlog(cell: Cell) -> bool:
    return cell.pace is None


def _batched(cell: Cell) -> bool:
    return cell.pace is None and cell.prefetch >= 10


def _paced(cell: Cell) -> bool:
    return cell.pace is not None and cell.pace >= 20


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on a ratio.

    Attributes:
        who, to: whose value is divided by whose.
        quantity: of what.
        bound: the greatest ratio where less is better, otherwise the least.
        applies: to which conditions.
    """

    who: Contender
    to: Contender
    quantity: Quantity
    bound: float
    applies: Callable[[Cell], bool] = _backlog

    def met(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio <= self.bound if self.quantity.less else ratio >= self.bound

    @property
    def words(self) -> str:
        """What it asks for."""
        which = "at most" if self.quantity.less else "at least"
        return f"{self.who.name}: {self.quantity.name} {which} {self.bound:.2f} x {self.to.name}"


AIMS = (
    Aim(LEDGER_OFF, BARE, CPU, 1.30),
    Aim(OURS, BARE, CPU, 2.60, _batched),
    Aim(LEDGER_OFF, BARE, RATE, 0.80),
    Aim(LEDGER_OFF, FASTSTREAM, RATE, 2.0),
    Aim(LEDGER_OFF, TASKIQ, RATE, 1.7),
    Aim(LEDGER_OFF, CELERY_PREFORK, RATE, 2.5),
    Aim(LEDGER_OFF, DRAMATIQ, RATE, 1.0),
    Aim(OURS, FASTSTREAM, RATE, 1.0),
    Aim(OURS, TASKIQ, RATE, 1.0),
    Aim(OURS, CELERY_SOLO, RATE, 1.0),
    Aim(OURS, CELERY_PREFORK, RATE, 1.0),
    Aim(OURS, CHECKING, P50, 1.1, _paced),
    Aim(OURS, CHECKING, P99, 2.0, _paced),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an aim under some conditions."""

    aim: Aim
    cell: Cell
    ratio: float

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.aim.met(self.ratio)


def verdicts(results: Results[Cell]) -> Iterator[Verdict]:
    """Every aim under every condition that it is for, if both sides were measured."""
    for aim in AIMS:
        for cell in results.rounds:
            both = {aim.who.name, aim.to.name} <= set(results.names(cell))
            if both and aim.applies(cell):
                ratio = results.ratio(cell, aim.who.name, aim.to.name, aim.quantity)
                yield Verdict(aim, cell, ratio)
