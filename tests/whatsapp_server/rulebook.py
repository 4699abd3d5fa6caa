"""Keeps the rules of one server and says which of them applies."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from tests.whatsapp_server.rules import (
    Answer,
    BadHmac,
    Delay,
    ErrorReply,
    Fail,
    MessageEffect,
    OnDial,
    OnHandshake,
    OnLogin,
    OnMessage,
    OnPairing,
    OnQuery,
    OnUpgrade,
    OnUpload,
    Query,
    RateLimit,
    Refuse,
    Silence,
    Situation,
)

S = TypeVar("S", bound=Situation)


@dataclass(slots=True, eq=False)
class Rule:
    """A situation that was added, and what became of it.

    Attributes:
        left: how often it will still apply; None is for ever.
        applied: how often it did; wait for it, to know that the script went so far.
    """

    situation: Situation
    left: int | None
    applied: int = 0

    def use(self) -> None:
        """Count one application."""
        self.applied += 1
        if self.left is not None:
            self.left -= 1


class Rulebook:
    """The script of one server.

    Counted rules (`times=n`) are asked first, in the order in which they were added; then standing
    ones (`times=None`).  The first that fits decides, and only that one counts down.

    Args:
        clock: seconds, for rate limits.

    Attributes:
        clock: as given; a test may put its own in its place.
        round_trip: seconds between each stanza of a client and our answer; answers to stanzas
            that came close together leave close together, as on a long wire.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.round_trip = 0.0
        self.clock = clock
        self._rules: list[Rule] = []
        self._accepted: deque[float] = deque()
        self._thawed = asyncio.Event()
        self._thawed.set()

    def add(self, situation: Situation, times: int | None = None) -> Rule:
        """Let a situation have its effect.

        Args:
            situation: for example `OnMessage(AckError(463))`.
            times: how often; None is for ever.

        Raises:
            ValueError: it could never apply.
        """
        if times is not None and times < 1:
            raise ValueError(f"a rule that applies {times} times is none")
        if isinstance(situation, OnMessage) and not (situation.to or "0").isdigit():
            raise ValueError(f"a number is written in digits only, not as {situation.to!r}")
        if isinstance(situation, RateLimit):
            self._accepted.clear()  # Nobody was counted before there was a limit.
        rule = Rule(situation, times)
        self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Forget one rule; ValueError if it is not there."""
        self._rules.remove(rule)

    def clear(self) -> None:
        """Forget all rules, answer at once again, and thaw."""
        self._rules.clear()
        self.round_trip = 0.0
        self.thaw()

    def freeze(self) -> None:
        """Read no further stanza of any client; connections stay open, new ones can be made."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on where it froze, with all that came in meanwhile."""
        self._thawed.set()

    async def thawed(self) -> None:
        """Return when not frozen."""
        await self._thawed.wait()

    @property
    def never_applied(self) -> tuple[Situation, ...]:
        """Counted rules that waited in vain: the test did not reach what it scripted."""
        return tuple(rule.situation for rule in self._rules if rule.left and not rule.applied)

    def on_dial(self) -> Answer | Refuse | None:
        """What to do with a dial; None is nothing special, here and below."""
        found = self._take(OnDial)
        return found.effect if found else None

    def on_upgrade(self) -> Answer | None:
        """What to do with the wish for a websocket."""
        found = self._take(OnUpgrade)
        return found.effect if found else None

    def on_handshake(self) -> Silence | None:
        """What to do with the first word of a handshake."""
        found = self._take(OnHandshake)
        return found.effect if found else None

    def on_login(self) -> Fail | Silence | None:
        """What to do with a login."""
        found = self._take(OnLogin)
        return found.effect if found else None

    def on_pairing(self) -> BadHmac | None:
        """What to do when a phone links a device."""
        found = self._take(OnPairing)
        return found.effect if found else None

    def on_query(self, query: Query) -> ErrorReply | Silence | Delay | None:
        """What to do with a question."""
        found = self._take(OnQuery, lambda rule: rule.query is query)
        return found.effect if found else None

    def on_message(self, to: str) -> MessageEffect | None:
        """What to do with a message to the number `to`; rate limits come last."""
        found = self._take(OnMessage, lambda rule: rule.to in (None, to)) or self._too_many()
        return found.effect if found else None

    def on_upload(self) -> Answer | None:
        """What to do with an attachment."""
        found = self._take(OnUpload)
        return found.effect if found else None

    def _take(self, kind: type[S], fits: Callable[[S], bool] = lambda _: True) -> S | None:
        for rule in sorted(self._rules, key=lambda rule: rule.left is None):  # Stable.
            if rule.left != 0 and isinstance(rule.situation, kind) and fits(rule.situation):
                rule.use()
                return rule.situation
        return None

    def _too_many(self) -> RateLimit | None:
        now = self.clock()
        while self._accepted and self._accepted[0] <= now - 1.0:
            self._accepted.popleft()
        limit = self._take(RateLimit, lambda rule: len(self._accepted) >= rule.per_second)
        if limit is None:
            self._accepted.append(now)
        return limit
