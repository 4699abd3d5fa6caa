"""The exchange and queues we need: made where ours, verified where not (DESIGN 4).

Every question goes out on a throw-away channel, because a refusal closes the channel it came on.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiormq.abc import AbstractConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from whatsapp_worker.amqp.session import LIBRARY_ERRORS, SLOW_DELAY, Questions, Trouble, said

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

WAIT_SECONDS = 2.0
"""How often we look whether somebody else has made what we may not make ourselves."""

DELIVERY_LIMIT = 1000
"""The last net under a message that ends the process each time.  Pauses count too (measured)."""
DEAD_DELIVERY_LIMIT = 1_000_000
"""Browsing counts as delivering; -1 would drop a message after one look on 3.10 (measured)."""

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Count:
    """What a declare answers.

    Attributes:
        messages: ready messages.
        consumers: consumers, ours included.
    """

    messages: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on the broker.

    Attributes:
        ours: the work queue provably equals our declaration: it dead-letters to our queue at
            least once, and only one consumer is active.
        classic: the work queue equals the Go worker's declaration (seed 003).
        notes: what is somebody else's, in the broker's own words.
    """

    ours: bool = True
    classic: bool = False
    notes: tuple[str, ...] = ()

    def noting(self, note: str) -> "Found":
        """Add a note."""
        return replace(self, notes=(*self.notes, note))


def work_arguments(settings: "Settings") -> Arguments:
    """Return the arguments of our work queue (DESIGN 4)."""
    return {
        **go_arguments(settings),
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-single-active-consumer": True,
    }


def go_arguments(settings: "Settings") -> Arguments:
    """Return the arguments of the work queue as the Go worker of seed 003 declares it."""
    return {
        "x-dead-letter-exchange": settings.whatsapp_dlx,
        "x-dead-letter-routing-key": settings.dead_letter_queue,
    }


def retry_arguments(settings: "Settings", seconds: float) -> Arguments:
    """Return the arguments of one rung: it waits, then hands back to the work queue."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": round(seconds * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": settings.whatsapp_queue_name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


DEAD_ARGUMENTS: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": DEAD_DELIVERY_LIMIT}


class Topology:
    """Asks and makes, on one connection.

    Args:
        connection: an open one.
        settings: names, and whether exchange and work queue are ours to make.
    """

    def __init__(self, connection: AbstractConnection, settings: "Settings") -> None:
        self.connection = connection
        self.settings = settings
        self._questions = Questions(connection)

    async def establish(self) -> Found:
        """Make or verify everything; what messages are to fall into comes first.

        Raises:
            Trouble: something is missing or in the way; the broker's own text is in it.
        """
        try:
            found = await self._exchange(Found())
            await self.dead_letters()
            await self.ladder()
            found = await self._work_queue(found)
            return await self._binding(found)
        except LIBRARY_ERRORS as error:
            if self.connection.is_closed:
                text = "the connection to RabbitMQ was lost while the queues were set up"
                raise Trouble(text) from error
            raise Trouble(f"RabbitMQ refused to set up the queues: {said(error)}") from error

    async def count(self, queue: str) -> Count:
        """Look at a queue without changing anything.

        Raises:
            ChannelNotFoundEntity: it does not exist.
        """
        async with self._questions.ask() as channel:
            ok = await channel.queue_declare(queue, passive=True)
        return Count(ok.message_count or 0, ok.consumer_count or 0)

    async def dead_letters(self) -> Count:
        """Make sure that dead letters have a place that keeps them; count them.

        Raises:
            Trouble: they do not.
        """
        queue, exchange = self.settings.dead_letter_queue, self.settings.whatsapp_dlx
        try:
            await self._declare_exchange(exchange)
        except ChannelPreconditionFailed:
            await self.verify_exchange(exchange)  # A topic exchange routes our key just as well.
        except ChannelAccessRefused as error:
            raise _not_ours("dead-letter exchange", exchange, error) from error
        try:
            count = await self.declare(queue, DEAD_ARGUMENTS)
        except ChannelPreconditionFailed as error:
            count = await self._harmless(queue, error)
        except ChannelAccessRefused as error:
            raise _not_ours("dead-letter queue", queue, error) from error
        try:
            async with self._questions.ask() as channel:
                await channel.queue_bind(queue, exchange, queue)
        except ChannelAccessRefused as error:
            raise _not_ours("binding of the dead-letter queue", queue, error) from error
        return count

    async def ladder(self) -> None:
        """Make sure that every rung of the retry ladder stands and is ours.

        Raises:
            Trouble: a queue of that name behaves otherwise.
        """
        for rung in self.settings.retry_delays:
            queue = self.settings.retry_queue(rung)
            try:
                await self.declare(queue, retry_arguments(self.settings, rung.seconds))
            except (ChannelPreconditionFailed, ChannelAccessRefused) as error:
                raise _not_ours("retry queue", queue, error) from error

    async def _exchange(self, found: Found) -> Found:
        name = self.settings.whatsapp_exchange
        if self._may_make:
            try:
                await self._declare_exchange(name)
            except (ChannelPreconditionFailed, ChannelAccessRefused) as error:
                found = found.noting(_note("exchange", name, error))
            else:
                return found
        await self.verify_exchange(name)
        return found

    async def _work_queue(self, found: Found) -> Found:
        name = self.settings.whatsapp_queue_name
        if not self._may_make:
            await self._verify_queue(name)
            return replace(found, ours=False)  # Proving more takes a declare, which could make it.
        try:
            await self.declare(name, work_arguments(self.settings))
        except ChannelPreconditionFailed as error:
            return await self._foreign(found.noting(_note("queue", name, error)))
        except ChannelAccessRefused as error:
            await self._verify_queue(name)
            return replace(found.noting(_note("queue", name, error)), ours=False)
        return found

    async def _foreign(self, found: Found) -> Found:
        try:
            await self.declare(self.settings.whatsapp_queue_name, go_arguments(self.settings))
        except ChannelPreconditionFailed:
            return replace(found, ours=False)
        return replace(found, ours=False, classic=True)

    async def _binding(self, found: Found) -> Found:
        settings = self.settings
        if not self._may_make:
            return found
        try:
            async with self._questions.ask() as channel:
                await channel.queue_bind(
                    settings.whatsapp_queue_name,
                    settings.whatsapp_exchange,
                    settings.whatsapp_routing_key,
                )
        except ChannelAccessRefused as error:
            return found.noting(_note("binding", settings.whatsapp_routing_key, error))
        return found

    @property
    def _may_make(self) -> bool:
        return self.settings.whatsapp_topology == "declare"

    async def _declare_exchange(self, name: str) -> None:
        async with self._questions.ask() as channel:
            await channel.exchange_declare(name, exchange_type="direct", durable=True)

    async def verify_exchange(self, name: str) -> None:
        """Look for an exchange; raises Trouble when it does not exist."""
        try:
            async with self._questions.ask() as channel:
                await channel.exchange_declare(name, passive=True)
        except ChannelNotFoundEntity as error:
            raise _waiting("exchange", name) from error

    async def _verify_queue(self, name: str) -> None:
        try:
            await self.count(name)
        except ChannelNotFoundEntity as error:
            raise _waiting("queue", name) from error

    async def declare(self, queue: str, arguments: Arguments) -> Count:
        """Declare a durable queue; raises ChannelPreconditionFailed when it stands otherwise."""
        async with self._questions.ask() as channel:
            ok = await channel.queue_declare(queue, durable=True, arguments=arguments)
        return Count(ok.message_count or 0, ok.consumer_count or 0)

    async def _harmless(self, queue: str, error: ChannelClosed) -> Count:
        """Accept somebody else's dead-letter queue if it is a plain durable classic one.

        Arguments can not be read, but a declare without any succeeds only where there are none:
        neither a TTL nor a limit, which would lose dead letters.
        """
        try:
            return await self.declare(queue, {})
        except ChannelPreconditionFailed:
            raise _not_ours("dead-letter queue", queue, error) from error


def _note(kind: str, name: str, error: BaseException) -> str:
    return f"the {kind} {name!r} is not as we would make it and is used as it is: {said(error)}"


def _not_ours(kind: str, name: str, error: BaseException) -> Trouble:
    return Trouble(
        f"the {kind} {name!r} has to be the worker's own: delete or rename what is there, or allow "
        f"this user to configure it; RabbitMQ says: {said(error)}",
        SLOW_DELAY,
    )


def _waiting(kind: str, name: str) -> Trouble:
    return Trouble(
        f"waiting for somebody to make the {kind} {name!r}: it does not exist, and this worker may "
        "not make it (WHATSAPP_TOPOLOGY or its permissions)",
        WAIT_SECONDS,
    )
