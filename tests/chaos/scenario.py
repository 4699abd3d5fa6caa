"""What a fault is, and the list of all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.arena import Arena


class Kind(StrEnum):
    """The work queue: ours, or one as the Go worker made it."""

    QUORUM = "quorum"
    CLASSIC = "classic"


BOTH = (Kind.QUORUM, Kind.CLASSIC)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and what has to be true of it.

    Attributes:
        name: for the command line, in words with dashes.
        shows: one sentence: what happens, and what is shown by it.
        run: makes it happen in an arena, and ends with `arena.finish` or `arena.settle`.
        kinds: the work queues for which it matters.
        seconds: about how long it takes in full, for each kind.
        quick: about how long it takes in the quick campaign.
        own_node: whether it needs a RabbitMQ that it may stop, kill and alarm.
        alone: whether it measures times or CPU, so that nothing else may run beside it.
    """

    name: str
    shows: str
    run: "Callable[[Arena], Awaitable[None]]"
    kinds: tuple[Kind, ...]
    seconds: float
    quick: float
    own_node: bool
    alone: bool


_scenarios: dict[str, Scenario] = {}


def scenario(
    shows: str,
    *,
    seconds: float,
    quick: float,
    kinds: tuple[Kind, ...] = BOTH,
    own_node: bool = False,
    alone: bool = False,
) -> "Callable[[Callable[[Arena], Awaitable[None]]], Callable[[Arena], Awaitable[None]]]":
    """Enter a coroutine function in the list, under its own name; for the rest see Scenario."""

    def enter(run: "Callable[[Arena], Awaitable[None]]") -> "Callable[[Arena], Awaitable[None]]":
        name = run.__name__.replace("_", "-")
        assert name not in _scenarios, name
        _scenarios[name] = Scenario(name, shows, run, kinds, seconds, quick, own_node, alone)
        return run

    return enter


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario of every module of `scenarios`, by name."""
    package = import_module("tests.chaos.scenarios")
    for module in sorted(each.name for each in iter_modules(package.__path__)):
        import_module(f"{package.__name__}.{module}")
    return dict(_scenarios)
