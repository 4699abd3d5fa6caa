"""Keeping a connection to RabbitMQ standing: dial, work, tell what went wrong, try again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from aiormq.abc import AbstractConnection

from whatsapp_worker.amqp.session import Trouble, connected
from whatsapp_worker.amqp.wire import Wire

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

FIRST_DELAY, MOST_DOUBLINGS, STOOD = 0.02, 6.0, 0.1
"""Seconds before the first new try, which each further one doubles (so never above 1.3 s: work goes
on at most 3 s after RabbitMQ answers again).  Every STOOD seconds that a connection works take one
doubling back: a single loss hardly costs a pause, and one that ends over and over slows down."""


class Supervisor:
    """Keeps one connection standing and works on it, until cancelled.

    Args:
        settings: where RabbitMQ is.
        name: what the management page shows the connection as.
        work: uses the connection until that has ended, and then raises Trouble; calls the function
            it is given as soon as everything works.
        told: hears of each change: a sentence when it stops working, None when it works again.
        wire: listens in on each connection.
    """

    def __init__(
        self,
        settings: "Settings",
        name: str,
        work: Callable[[AbstractConnection, Callable[[], None]], Awaitable[NoReturn]],
        told: Callable[[str | None], None],
        wire: Wire | None = None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._work = work
        self._told = told
        self._wire = wire
        self._said: str | None = ""
        self._tries = 0.0
        self._works_since: float | None = None

    async def run(self) -> NoReturn:
        """Dial, work, and start over; never ends by itself."""
        while True:
            self._works_since = None
            try:
                async with connected(self._settings, self._name, self._wire) as connection:
                    await self._use(connection)
            except Trouble as trouble:
                self._tell(trouble.text)
                await asyncio.sleep(self._delay(trouble))

    async def _use(self, connection: AbstractConnection) -> None:
        try:
            await self._work(connection, self._works)
        except Trouble as trouble:
            self._tell(trouble.text)  # At once: hanging up may take seconds during an alarm.
            raise

    def _works(self) -> None:
        self._works_since = monotonic()
        self._tell(None)

    def _tell(self, text: str | None) -> None:
        if text == self._said:
            return  # Once per change, not once per try.
        self._said = text
        self._told(text)

    def _delay(self, trouble: Trouble) -> float:
        """Decide how long to wait: longer from try to try, hardly after a sound connection."""
        if trouble.retry_after is not None:
            return trouble.retry_after
        if self._works_since is not None:
            stood = (monotonic() - self._works_since) / STOOD
            self._tries = max(0.0, self._tries - stood)
        most = FIRST_DELAY * 2**self._tries
        self._tries = min(MOST_DOUBLINGS, self._tries + 1)
        return random.uniform(most / 2, most)  # noqa: S311  Jitter against stampedes, no secret.
