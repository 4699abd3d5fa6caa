"""What was measured, and how contenders compare: medians of the ratios within each round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Generic, TypeVar

from benchmarks.compare.plan import WARM
from benchmarks.contenders.contract import Result


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that results tell.

    Attributes:
        name: for a person.
        of: takes it out of a result.
        less: whether less of it is better.
    """

    name: str
    of: Callable[[Result], float]
    less: bool = True


def _delay(percent: int) -> Quantity:
    def of(result: Result) -> float:
        return quantiles(result.delays[WARM:], n=100, method="inclusive")[percent - 1]

    return Quantity(f"delay p{percent}", of)


RATE = Quantity("rate", lambda result: result.rate, less=False)
CPU = Quantity("CPU per message", lambda result: result.cpu_each)
RSS = Quantity("resident memory", lambda result: result.rss)
P50, P90, P99 = map(_delay, (50, 90, 99))
LONGEST = Quantity("longest delay", lambda result: max(result.delays[WARM:]))

Round = Mapping[str, Result]
"""By contender's name."""

Conditions = TypeVar("Conditions")
"""Under which several are compared."""


@dataclass(frozen=True, slots=True)
class Results(Generic[Conditions]):
    """Whole rounds, by their conditions.

    A round that was broken off is not in here: its ratios would compare different hours.
    """

    rounds: dict[Conditions, list[Round]] = field(default_factory=dict)

    def add(self, cell: Conditions, done: Round) -> None:
        """Keep a round."""
        self.rounds.setdefault(cell, []).append(done)

    def names(self, cell: Conditions) -> list[str]:
        """Who was measured under these conditions."""
        return list(self.rounds[cell][0])

    def median(self, cell: Conditions, name: str, quantity: Quantity) -> float:
        """The middle one of a contender's values."""
        return median(quantity.of(each[name]) for each in self.rounds[cell])

    def ratio(self, cell: Conditions, name: str, to: str, quantity: Quantity) -> float:
        """The median of the ratios within each round: the machine is another one in the next."""
        return median(quantity.of(each[name]) / quantity.of(each[to]) for each in self.rounds[cell])
