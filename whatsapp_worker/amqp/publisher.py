"""Publishing copies: confirmed by RabbitMQ, never lost on the way, or Unavailable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from whatsapp_worker.amqp.session import (
    LIBRARY_ERRORS,
    Trouble,
    at_most,
    end,
    hang_up,
    said,
)
from whatsapp_worker.amqp.supervisor import Supervisor
from whatsapp_worker.errors import PauseReason, Unavailable

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

PUBLISH_SECONDS = 10.0
"""Without a confirm after this long the connection is given up: during a memory or disk alarm
RabbitMQ simply stops reading from it, and no client library says so (measured)."""
HURRY_SECONDS = 3.0
"""The same while the worker stops: the ledger knows which copy is missing, and the next start
makes it (DESIGN 6)."""
NOWHERE = "whatsapp-worker.probe"
"""A queue name that does not exist: a confirmed publish to it shows that publishing works."""


class Undeliverable(Exception):
    """RabbitMQ answered, and did not put the message into the queue.

    Args:
        text: one sentence for a person.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Publisher:
    """Publishes copies on a connection of its own.

    Of its own, because RabbitMQ stops reading from a connection that publishes during an alarm,
    and the acks of the consumer must go through all the same.

    Args:
        settings: where RabbitMQ is.
        name: of the connection.
        report: pauses the worker while publishing is impossible, and ends that pause.
    """

    def __init__(
        self,
        settings: "Settings",
        name: str,
        report: Callable[[PauseReason, str | None], None],
    ) -> None:
        self._report = report
        self._supervisor = Supervisor(settings, name, self._work, self._told)
        self._one_at_a_time = asyncio.Lock()
        self._channel: AbstractChannel | None = None
        self._standing = asyncio.Event()
        self._given_up: asyncio.Future[str] | None = None
        self._worn: AbstractChannel | None = None
        self._hurry = False
        self._waiting: set[asyncio.Timeout] = set()
        self.problem: str | None = None

    async def run(self) -> NoReturn:
        """Keep the connection standing until cancelled."""
        await self._supervisor.run()

    def hurry(self) -> None:
        """From now on wait for HURRY_SECONDS at most, and so with what waits already."""
        self._hurry = True
        latest = asyncio.get_running_loop().time() + HURRY_SECONDS
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(min(latest, limit.when() or latest))

    async def publish(self, queue: str, body: bytes, properties: Basic.Properties) -> None:
        """Publish to a queue through the default exchange; return after RabbitMQ's confirm.

        One at a time: aiormq tells returned messages apart by message id, and ours keep theirs.

        Raises:
            Undeliverable: the queue does not exist, or refuses the message.
            Unavailable: there is no connection, or no confirm in time; it may have arrived.
        """
        try:
            async with self._patience(), self._one_at_a_time:
                await self._standing.wait()
                channel = self._channel
                if channel is None:
                    raise ConnectionResetError("the connection was lost")
                try:
                    await send(channel, queue, body, properties)
                except Undeliverable:
                    await self._renew(channel)
                    raise
        except LIBRARY_ERRORS as error:
            if isinstance(error, TimeoutError):
                self._give_up()
            why = self.problem or f"RabbitMQ did not confirm a copy ({type(error).__name__})"
            raise Unavailable(PauseReason.PUBLISHER, why) from error

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        async with at_most(HURRY_SECONDS if self._hurry else PUBLISH_SECONDS) as limit:
            self._waiting.add(limit)
            try:
                yield
            finally:
                self._waiting.discard(limit)

    async def _work(self, connection: AbstractConnection, works: Callable[[], None]) -> NoReturn:
        self._given_up = asyncio.get_running_loop().create_future()
        while True:
            channel = await self._open(connection)
            self._channel = channel
            self._standing.set()
            works()
            try:
                trouble = await end(connection, channel, self._given_up)
            finally:
                self._channel = None
                self._standing.clear()
            if channel is not self._worn:
                raise trouble

    async def _open(self, connection: AbstractConnection) -> AbstractChannel:
        try:
            async with at_most(PUBLISH_SECONDS):
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                await channel.basic_publish(b"", routing_key=NOWHERE, properties=Basic.Properties())
        except LIBRARY_ERRORS as error:
            raise _trouble(error) from error
        return channel

    async def _renew(self, channel: AbstractChannel) -> None:
        """Go on with another channel after a refusal.

        RabbitMQ does not tell a channel that was refused for want of room when the limit is gone,
        and would refuse it for ever (measured on 3.10.8: a policy that was cleared).
        """
        self._worn = channel
        self._standing.clear()
        await hang_up(channel)

    def _give_up(self) -> None:
        if self._given_up and not self._given_up.done():
            self._given_up.set_result(_trouble(TimeoutError()).text)

    def _told(self, text: str | None) -> None:
        self.problem = text
        self._report(PauseReason.PUBLISHER, text)


async def send(
    channel: AbstractChannel,
    routing_key: str,
    body: bytes,
    properties: Basic.Properties,
    exchange: str = "",
) -> None:
    """Publish on a channel with confirms; return after the confirm.

    Raises:
        Undeliverable: no queue took it.
        LIBRARY_ERRORS: the channel is broken.
    """
    target = f"queue {routing_key!r}" if exchange == "" else f"exchange {exchange!r}"
    try:
        await channel.basic_publish(
            body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=True
        )
    except PublishError as error:
        raise Undeliverable(f"{target} took no message: no queue there ({said(error)})") from error
    except DeliveryError as error:
        raise Undeliverable(f"{target} refused a message: it is full or failing") from error


def _trouble(error: BaseException) -> Trouble:
    if isinstance(error, TimeoutError):
        return Trouble(
            f"RabbitMQ confirmed nothing for {PUBLISH_SECONDS:.0f} s: it may be short of memory or "
            "disk (see its alarms)"
        )
    return Trouble(f"RabbitMQ does not let this user publish: {said(error)}")
