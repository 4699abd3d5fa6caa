"""How much is measured: the workloads, and how often each."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.whatsapp_server.people import Contact


class Workload(StrEnum):
    """To whom messages go."""

    ONE = "one recipient"
    NEW = "new recipients"
    KNOWN = "known recipients"
    FAR = "known, WhatsApp 100 ms away"


FAR_SECONDS = 0.1
"""The round trip of `Workload.FAR`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often everything is repeated; each round measures every subject once.
        messages: to one recipient, and to known ones.
        strangers: recipients nobody has written to before.
        far: messages while each answer takes 100 ms.
        disk: whether sessions are kept on disk as well as in memory.
        long: messages of the run that looks at memory.
    """

    rounds: int
    messages: int
    strangers: int
    far: int
    disk: bool
    long: int

    def recipients(self, workload: Workload, people: Sequence[Contact]) -> Sequence[Contact]:
        """To whom the messages of a workload go; the first person is known already."""
        first, *others = people
        match workload:
            case Workload.ONE:
                return [first] * self.messages
            case Workload.NEW:
                return others[: self.strangers]
            case Workload.KNOWN:
                return others[: self.messages]
            case Workload.FAR:
                return others[: self.far]


FULL = Plan(rounds=3, messages=300, strangers=500, far=30, disk=True, long=10_000)
QUICK = Plan(rounds=1, messages=50, strangers=50, far=5, disk=False, long=500)
