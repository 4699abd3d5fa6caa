"""Who may send, and when: one turn at a time, some time apart, and none while paused."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import PauseReason, Throttled, Unavailable
from whatsapp_worker.holding import Holding
from whatsapp_worker.outcome import DeadLetter, Record, Retry, Sent

log = logging.getLogger(__name__)

JITTER = 0.3
"""The interval between two sends varies by this share, both ways (DESIGN 7)."""

THROTTLED_IN_A_ROW = 3
"""Throttled sends to different recipients that make it the account's trouble (DESIGN 5)."""

FIRST_THROTTLE_PAUSE = 60.0
LONGEST_THROTTLE_PAUSE = 3600.0
"""Seconds; the pause doubles from the first to the longest until a send succeeds."""

BREATH = 1.0
"""Seconds a held delivery waits at least, in case its trouble has not been reported yet."""


class TurnPacer:
    """Hands out turns.

    Whoever finds that sending is impossible reports it with `report`; turns wait until every
    reason is gone.  `let_go` makes all who wait give their deliveries back instead.

    Args:
        interval: seconds between the end of one send and the start of the next, on average.
        clock: a monotonic clock, in seconds.
        uniform: a random number between two bounds.
    """

    def __init__(
        self,
        interval: float,
        clock: Callable[[], float] = monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._uniform = uniform
        self._turn = asyncio.Lock()
        self._next_turn = 0.0
        self._turn_since: float | None = None
        self._reasons: dict[PauseReason, str] = {}
        self._letting_go = False
        self._changed = asyncio.Event()
        self._throttled: set[str] = set()
        self._throttle_pause = FIRST_THROTTLE_PAUSE
        self._throttled_until = 0.0

    @property
    def paused(self) -> dict[PauseReason, str]:
        """Why no new work may start now, with a sentence each; empty when it may."""
        if self._clock() < self._throttled_until:
            return self._reasons | {PauseReason.THROTTLED: "WhatsApp asks to send less"}
        return self._reasons

    @property
    def sending_for(self) -> float:
        """Seconds for which the current turn has been held, 0 when there is none."""
        return 0.0 if self._turn_since is None else self._clock() - self._turn_since

    def report(self, reason: PauseReason, detail: str | None) -> None:
        """Pause for `reason`, which `detail` explains; None says that it is over."""
        if detail is None:
            self._reasons.pop(reason, None)
        else:
            self._reasons[reason] = detail
        self.wake()

    def wake(self) -> None:
        """Let all who wait look again: a reason, a lost channel or the time has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def let_go(self) -> None:
        """Refuse turns until `welcome`: who waits for one gives the delivery back."""
        self._letting_go = True
        self.wake()

    def welcome(self) -> None:
        """Hand out turns again."""
        self._letting_go = False

    def turn(self, delivery: Delivery) -> Holding[None]:
        """Hold the one turn to send.

        Raises:
            Unavailable: the delivery is to be given back, or has gone back already.
        """
        return Holding(self._begin(delivery), self._end)

    async def _begin(self, delivery: Delivery) -> None:
        # First let all that was delivered together come as far: what is done for many in a row
        # takes a tenth less of the processor than everything for one after the other (measured).
        await asyncio.sleep(0)
        await self._turn.acquire()
        try:
            await self._wait_for(delivery, lambda: max(self._next_turn, self._throttled_until))
        except BaseException:
            self._turn.release()
            raise
        self._turn_since = self._clock()

    def _end(self) -> None:
        self._turn_since = None
        spread = self._interval * JITTER
        self._next_turn = self._clock() + self._interval + self._uniform(-spread, spread)
        self._turn.release()

    async def hold(self, delivery: Delivery) -> bool:
        """Wait until work may go on; False says that the delivery is to be given back."""
        breath_over = self._clock() + BREATH
        with suppress(Unavailable):
            await self._wait_for(delivery, lambda: breath_over)
            return True
        return False

    async def closed(self, seconds: float) -> None:
        """Return once work has been paused for so many seconds without a break."""
        while True:
            while not self.paused:
                await self._change(None)
            deadline = self._clock() + seconds
            while self.paused and self._clock() < deadline:
                await self._change(deadline)
            if self.paused:
                return

    async def opened(self) -> None:
        """Return once work may go on."""
        while self.paused:
            await self._change(self._throttled_until)

    def observe(self, record: Record) -> None:
        """Learn from what became of a job whether WhatsApp slows the account down."""
        match record.outcome:
            case Sent():
                self._throttled.clear()
                self._throttle_pause = FIRST_THROTTLE_PAUSE
            case Retry(error=Throttled()) | DeadLetter(error=Throttled()) if record.envelope:
                self._throttled.add(record.envelope.destination)
                if len(self._throttled) >= THROTTLED_IN_A_ROW:
                    self._slow_down()
            case _:
                pass

    def _slow_down(self) -> None:
        pause = self._throttle_pause
        log.warning("paused (throttled) for %.0f s: WhatsApp asks to send less", pause)
        self._throttled_until = self._clock() + pause
        self._throttle_pause = min(pause * 2, LONGEST_THROTTLE_PAUSE)
        self.wake()

    async def _wait_for(self, delivery: Delivery, earliest: Callable[[], float]) -> None:
        while True:
            if self._letting_go or delivery.receipt.lost:
                raise Unavailable(PauseReason.DRAINING, "the worker lets its deliveries go")
            if not self._reasons and self._clock() >= earliest():
                return
            await self._change(None if self._reasons else earliest())

    async def _change(self, deadline: float | None) -> None:
        """Wait for a change, at the longest until `deadline` on our clock, if that is ahead."""
        seconds = None if deadline is None else deadline - self._clock()
        if seconds is not None and seconds <= 0:
            seconds = None
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
