"""Keeps the connection as the states demand: dials, hangs up, waits, looks whether it is alive."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, assert_never
from uuid import uuid4

from whatsapp_worker.masking import mask
from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import NativeError, NewClient
from whatsapp_worker.whatsapp.failures import connect_failure
from whatsapp_worker.whatsapp.installation import load_native
from whatsapp_worker.whatsapp.line import Line
from whatsapp_worker.whatsapp.states import (
    INITIAL,
    Action,
    Expect,
    HangUp,
    Keep,
    Redial,
    Rest,
    WhatsAppState,
    advance,
)
from whatsapp_worker.whatsapp.threads import tell

log = logging.getLogger(__name__)

# Seconds between two looks at the connection: not every end of it is told by an event (measured).
POLL_SECONDS = 5.0
# Seconds for the native threads of a connection to end; those of a failed pairing never do.
HANG_UP_SECONDS = 5.0
# Each connection leaks 1.3 descriptors and 0.3 MB (measured): then a fresh process is better.
MOST_DIALS = 100


class Timer(Protocol):
    """Something that will happen, unless cancelled."""

    def cancel(self) -> None:
        """Keep it from happening."""


def _call_later(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the session takes from around it; tests bring their own.

    Attributes:
        load: makes the factory of native clients from database and proxy address; blocks.
        call_later: the clock: calls back after so many seconds.
    """

    load: Callable[[Path, str | None], NewClient] = load_native
    call_later: Callable[[float, Callable[[], None]], Timer] = _call_later


class Keeper:
    """Owns the status and the line; everything happens on the event loop, one event at a time.

    Args:
        call_later: the clock.
        heard: told every event after it was applied; the status is the new one by then.
        needs_restart: told, once, why a fresh process would be better.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        heard: Callable[[events.Event], None],
        needs_restart: Callable[[str], None],
    ) -> None:
        self.status = INITIAL
        self.line: Line | None = None
        self._call_later = call_later
        self._heard = heard
        self._needs_restart = needs_restart
        self._inbox: asyncio.Queue[tuple[int, events.Event]] = asyncio.Queue()
        self._number = 0
        self._lines: list[Line] = []
        self._dials = 0
        self._last_words = ""
        self._timer: Timer | None = None
        self._poll_timer: Timer | None = None

    @property
    def threads_remain(self) -> bool:
        """Whether a connection's native threads still run, be it hung up or not."""
        return any(not line.ended.done() for line in self._lines)

    async def run(self, new_client: NewClient) -> None:
        """Connect, and keep the connection until cancelled."""
        self._poll()
        await self._dial(new_client)
        while True:
            number, event = await self._inbox.get()
            if number != self._number:
                continue  # Of a connection that is no more.
            if self.line is None and isinstance(event, events.Overdue):
                await self._dial(new_client)
            else:
                self.apply(event)

    def tell(self, number: int, event: events.Event) -> None:
        """Have an event applied in its turn, if the line of this number is still the one."""
        self._inbox.put_nowait((number, event))

    def apply(self, event: events.Event) -> None:
        """Apply an event at once."""
        self.status, action = advance(self.status, event)
        self._act(action)
        if self.status.state is WhatsAppState.ONLINE:
            self._last_words = ""
        self._heard(event)

    async def close(self) -> None:
        """Hang up and wait for it, but never long."""
        line = self.line
        self.apply(events.Closed())
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if line is not None:
            await line.wait_ended(HANG_UP_SECONDS)

    async def _dial(self, new_client: NewClient) -> None:
        number = self._number
        if self._lines:
            await self._lines[-1].wait_ended(HANG_UP_SECONDS)
        if number != self._number:
            return  # Something happened meanwhile, and comes with a timer of its own.
        self._lines = [line for line in self._lines if not line.ended.done()]
        self._dials += 1
        if self._dials == MOST_DIALS:
            self._needs_restart(f"connected to WhatsApp {MOST_DIALS} times, which leaks a little")
        hear = partial(self._hear, asyncio.get_running_loop(), number)
        self.line = Line(number, new_client(f"whatsapp-{number}-{uuid4().hex}", hear))
        self.line.ended.add_done_callback(partial(self._ended, number))
        self._lines.append(self.line)
        self.apply(events.Dialled())

    def _hear(self, loop: asyncio.AbstractEventLoop, number: int, event: events.Event) -> None:
        """Called on the library's threads, which must neither wait nor see an exception."""
        tell(loop, partial(self.tell, number, event))

    def _ended(self, number: int, ended: asyncio.Future[None]) -> None:
        if ended.cancelled() or number != self._number:
            return
        error = ended.exception()
        words = mask(str(error or ""))
        if words != self._last_words:  # Once for an outage, not once for every try.
            log.warning("connecting to WhatsApp failed: %s", words)
            self._last_words = words
        if error is None or isinstance(error, NativeError):
            self.tell(number, connect_failure(str(error or "")))
        else:
            self.tell(number, events.Failed("the WhatsApp library failed"))

    def _act(self, action: Action) -> None:
        match action:
            case Keep():
                pass
            case Rest():
                self._expect(None)
            case Expect(seconds=seconds):
                self._expect(seconds)
            case Redial(seconds=seconds):
                self._hang_up()
                self._expect(seconds)
            case HangUp():
                self._hang_up()
                self._expect(None)
            case _:
                assert_never(action)

    def _hang_up(self) -> None:
        self._number += 1  # What the old line still says is not heard any more.
        if self.line is not None:
            self.line.hang_up()
            self.line = None

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            overdue = partial(self.tell, self._number, events.Overdue())
            self._timer = self._call_later(seconds, overdue)

    def _poll(self) -> None:
        self._poll_timer = self._call_later(POLL_SECONDS, self._poll)
        if self.line is None or self.status.state not in _LOST_BY:
            return
        answer = self.line.ask_connected()
        if answer is None:
            self.tell(self._number, _LOST_BY[self.status.state])
        else:
            answer.add_done_callback(partial(self._answered, self._number, self.status))

    def _answered(self, number: int, asked_in: object, answer: asyncio.Future[bool]) -> None:
        up = not answer.cancelled() and answer.exception() is None and answer.result()
        if not up and asked_in is self.status:  # Else an event has told more since.
            self.tell(number, _LOST_BY[self.status.state])


# What it means in which state when the websocket turns out to be down.
_LOST_BY: dict[WhatsAppState, events.Event] = {
    WhatsAppState.ONLINE: events.Offline(),
    WhatsAppState.PAIRING: events.PairingFailed(),
}
