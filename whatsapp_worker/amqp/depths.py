"""Looking at the queues every few seconds: how full they are, and whether they still stand."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from aiormq.exceptions import ChannelNotFoundEntity

from whatsapp_worker.amqp.consumer import Session
from whatsapp_worker.amqp.session import LIBRARY_ERRORS, Trouble, said
from whatsapp_worker.amqp.topology import Count, Topology
from whatsapp_worker.errors import PauseReason

PROBE_SECONDS = 5.0
"""How often we look (DESIGN 9)."""
STALLED_SECONDS = 60.0
"""Ready messages, nothing held and no delivery for this long: the consumer is dead (measured)."""
FULL_SECONDS = 30.0
"""After how long a dead-letter queue that was full is tried again although it did not shrink."""

PROVEN_SECONDS, PROVEN_LETTERS = 5.0, 100
"""For how long, and for how many messages, one confirm of the dead-letter queue is proof enough
that RabbitMQ can move there what we reject.  When it can not, it keeps that in the work queue,
tries again every three minutes, and tells nobody (measured: 179 of 200 behind a full queue)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Depths:
    """How many messages are ready; None when nobody knows.

    Attributes:
        ready: in the work queue.
        dead_letters: in the dead-letter queue.
    """

    ready: int | None = None
    dead_letters: int | None = None


class Monitor:
    """Watches the queues of one session, over a side channel of its connection.

    Args:
        topology: asks and repairs.
        session: given up when RabbitMQ has forgotten its consumer.
        report: pauses the worker while dead letters would be lost.
    """

    def __init__(
        self,
        topology: Topology,
        session: Session,
        report: Callable[[PauseReason, str | None], None],
    ) -> None:
        self._topology = topology
        self._session = session
        self._report = report
        self._look = asyncio.Event()
        self._repair_ladder = False
        self._full_since: float | None = None
        self._full_with: int | None = None
        self._proven_until = monotonic() + PROVEN_SECONDS
        self._left = 0
        self._said: set[str] = set()
        self._deliveries = -1
        self._forgotten = 0
        self._moved = monotonic()
        self.depths = Depths()
        self.dead_letters_safe = True

    @property
    def moves_rejected(self) -> bool:
        """Whether RabbitMQ can be left to move what is rejected; if not, a copy has to prove it."""
        proven = self._left < PROVEN_LETTERS and monotonic() < self._proven_until
        return self.dead_letters_safe and proven

    async def watch(self) -> Trouble:
        """Look now and then; return why the session has to begin anew."""
        while True:
            try:
                await self._probe()
            except Trouble as trouble:
                return trouble
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                pass

    def rung_missing(self) -> None:
        """Look at once, and make the retry ladder again."""
        self._repair_ladder = True
        self._look.set()

    def dead_letters_refused(self, why: str) -> None:
        """Pause: the dead-letter queue took no message."""
        self._full_since, self._full_with = monotonic(), None
        self._unsafe(why)
        self._look.set()

    def letter_left(self) -> None:
        """RabbitMQ was left to move a message to the dead-letter queue."""
        self._left += 1

    def letter_kept(self) -> None:
        """The dead-letter queue has confirmed a copy."""
        self._left, self._proven_until = 0, monotonic() + PROVEN_SECONDS

    async def _probe(self) -> None:
        self._look.clear()
        try:
            if self._repair_ladder:
                await self._topology.ladder()
                self._repair_ladder = False
            work = await self._topology.count(self._topology.settings.whatsapp_queue_name)
            self._check(work)
            self.depths = Depths(work.messages, await self._dead_letters())
        except LIBRARY_ERRORS as error:
            raise Trouble(f"RabbitMQ does not answer about its queues: {said(error)}") from error

    async def _dead_letters(self) -> int | None:
        queue = self._topology.settings.dead_letter_queue
        try:
            await self._topology.count(queue)
        except ChannelNotFoundEntity:
            self._unsafe(f"the dead-letter queue {queue!r} was deleted")
        try:
            count = await self._topology.dead_letters()
        except Trouble as trouble:
            self._unsafe(trouble.text)
            return None
        if not self._still_full(count):
            self._safe()
        return count.messages

    def _still_full(self, count: Count) -> bool:
        if self._full_since is None:
            return False
        before, self._full_with = self._full_with, count.messages
        shrunk = count.messages == 0 or (before is not None and count.messages < before)
        if shrunk or monotonic() - self._full_since >= FULL_SECONDS:
            self._full_since = None
        return self._full_since is not None

    def _unsafe(self, why: str) -> None:
        if self._said and why not in self._said:  # The first reason is logged with the pause.
            log.warning("still no place for dead letters: %s", why)
        self._said.add(why)
        self.dead_letters_safe = False
        self._report(PauseReason.DEAD_LETTERS, why)

    def _safe(self) -> None:
        self._said.clear()
        self.dead_letters_safe = True
        self._report(PauseReason.DEAD_LETTERS, None)

    def _check(self, work: Count) -> None:
        """Notice a consumer that is alive on our side only."""
        session = self._session
        self._forgotten = self._forgotten + 1 if session.consuming and work.consumers == 0 else 0
        if self._forgotten > 1:  # Once may be a look in the middle of a pause.
            raise Trouble("RabbitMQ no longer knows our consumer")
        waiting = work.messages > 0 and work.consumers == 1 and session.consuming and session.idle
        if not waiting or session.deliveries != self._deliveries:
            self._deliveries, self._moved = session.deliveries, monotonic()
        elif monotonic() - self._moved >= STALLED_SECONDS:
            raise Trouble(
                f"RabbitMQ delivers nothing although {work.messages} messages are ready: perhaps "
                "it gives them to another worker on this queue"
            )
