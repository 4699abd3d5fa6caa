"""What goes wrong in a campaign through WhatsApp, and when: drawn by lot before it begins."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tests.support.eventually import eventually
from tests.whatsapp_server.rules import (
    AckError,
    DelayAck,
    DropAfter,
    DropBefore,
    LoseAck,
    MessageEffect,
    OnMessage,
)
from tests.whatsapp_server.server import WhatsAppServer

STRIKE_SECONDS = 180.0
"""How long the next message may let us wait: the library may wait 75 s for an answer first."""

CALM = 3
"""Letters that must come through between two faults, which are two messages at least.

Three throttled sends in a row would make the daemon pause for a minute (DESIGN 5); another test
shows that.
"""


class Blow(StrEnum):
    """What hits everything under way, not one message."""

    RESET = "connection reset at any moment"
    CLOSE = "websocket closed at any moment"
    KILL = "daemon killed"


Fault = OnMessage | Blow


@dataclass(frozen=True, slots=True)
class Doses:
    """How many of each kind of fault.

    Attributes:
        resets, closes, kills: see `Blow`.
        cut_before, cut_after: connections reset in mid-send, the message taken or not.
        late: acknowledgements that come 0.1 to 2 s late.
        lost: acknowledgements that never come; the library waits 75 s for each (measured).
        errors: of each code with which WhatsApp refuses a message for now.
    """

    resets: int = 0
    closes: int = 0
    kills: int = 0
    cut_before: int = 0
    cut_after: int = 0
    late: int = 0
    lost: int = 0
    errors: int = 0

    @property
    def doubts(self) -> int:
        """How many sends may end without an answer because of them: a refusal is an answer."""
        cuts = self.resets + self.closes + self.cut_before + self.cut_after
        return cuts + self.kills + self.late + self.lost

    def faults(self, random: Random) -> list[Fault]:
        """All of them in random order."""
        on_message: list[MessageEffect] = [
            *[DropBefore()] * self.cut_before,
            *[DropAfter()] * self.cut_after,
            *[DelayAck(random.uniform(0.1, 2.0)) for _ in range(self.late)],
            *[LoseAck()] * self.lost,
            *[AckError(code) for code in (429, 463, 503)] * self.errors,
        ]
        blows = Counter({Blow.RESET: self.resets, Blow.CLOSE: self.closes, Blow.KILL: self.kills})
        faults: list[Fault] = [*map(OnMessage, on_message), *blows.elements()]
        random.shuffle(faults)
        return faults


@dataclass(slots=True)
class Storm:
    """Strikes while messages are under way.

    Attributes:
        server: whose messages are struck.
        progress: how many letters arrived so far.
        kill: ends the daemon as a power cut would.
        struck: what happened, counted by name.
    """

    server: WhatsAppServer
    progress: Callable[[], int]
    kill: Callable[[], None]
    struck: Counter[str] = field(default_factory=Counter)

    async def rage(self, faults: list[Fault], letters: int, random: Random) -> None:
        """Strike each fault once, spread over the first nine tenths of so many letters."""
        moments = sorted(random.randrange(letters * 9 // 10) for _ in faults)
        for moment, fault in zip(moments, faults, strict=True):
            await self._arrived(max(moment, self.progress() + CALM))
            await self._strike(fault)

    async def _arrived(self, count: int) -> None:
        await eventually(lambda: self.progress() >= count, f"{count} arrived", STRIKE_SECONDS)

    async def _strike(self, fault: Fault) -> None:
        match fault:
            case Blow.RESET:
                self.server.drop()
            case Blow.CLOSE:
                self.server.close()
            case Blow.KILL:
                self.kill()
            case OnMessage():
                rule = self.server.rules.add(fault, times=1)
                await eventually(lambda: rule.applied, f"{fault} happens", STRIKE_SECONDS)
        self.struck[_name(fault)] += 1


def _name(fault: Fault) -> str:
    if isinstance(fault, Blow):
        return fault.value
    match fault.effect:
        case AckError(code):
            return f"refused with {code}"
        case effect:
            return _NAMES[type(effect)]


_NAMES: dict[type, str] = {
    DropBefore: "connection reset in mid-send, message lost",
    DropAfter: "connection reset in mid-send, message taken",
    DelayAck: "acknowledged late",
    LoseAck: "acknowledgement lost",
}
