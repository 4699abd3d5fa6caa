"""Publishing as an ordinary service does: for `whatsapp-worker send` and the demo."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from whatsapp_worker.amqp.copies import PERSISTENT
from whatsapp_worker.amqp.publisher import PUBLISH_SECONDS, Undeliverable, send
from whatsapp_worker.amqp.session import (
    CALL_SECONDS,
    LIBRARY_ERRORS,
    Trouble,
    at_most,
    connected,
    hang_up,
    said,
)
from whatsapp_worker.errors import Misconfigured, PauseReason, Unavailable, WorkerError

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings


class Outbound:
    """Publishes messages to the exchange; made by `publishing`.

    Args:
        channel: one with confirms.
        settings: exchange and routing key.
    """

    def __init__(self, channel: AbstractChannel, settings: "Settings") -> None:
        self._channel = channel
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()

    async def publish(self, body: bytes, message_id: str | None = None) -> None:
        """Publish one persistent message; return after RabbitMQ's confirm.

        Args:
            body: the envelope as JSON; checked by nobody here.
            message_id: the AMQP property; made up when None.

        Raises:
            Misconfigured: no queue takes it: exchange or binding is missing, or the queue is full.
            Unavailable: no confirm came; the message may have arrived.
        """
        exchange, key = self._settings.whatsapp_exchange, self._settings.whatsapp_routing_key
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=message_id,
            timestamp=datetime.now(UTC),
        )
        try:
            async with at_most(PUBLISH_SECONDS), self._one_at_a_time:
                await send(self._channel, key, body, properties, exchange)
        except (Undeliverable, ChannelNotFoundEntity) as error:
            raise Misconfigured(
                f"nobody takes messages for {key!r} from the exchange {exchange!r}: let the worker "
                f"set its queue up first, or look at `whatsapp-worker check` ({said(error)})"
            ) from error
        except LIBRARY_ERRORS as error:
            raise Unavailable(
                PauseReason.PUBLISHER, f"RabbitMQ did not confirm the message: {said(error)}"
            ) from error


@asynccontextmanager
async def publishing(settings: "Settings") -> AsyncIterator[Outbound]:
    """Connect for as long as the `with` block lasts.

    Raises:
        Misconfigured: RabbitMQ refuses the user, the password or the virtual host.
        Unavailable: it can not be reached.
    """
    async with opened(settings, "whatsapp-worker send") as channel:
        yield Outbound(channel, settings)


@asynccontextmanager
async def opened(settings: "Settings", name: str) -> AsyncIterator[AbstractChannel]:
    """Connect and open one channel with confirms, for a command; raises as `publishing` does.

    Closing it sees every ack through that was written; closing the connection alone would not.
    """
    try:
        async with connected(settings, name) as connection:
            try:
                async with at_most(CALL_SECONDS):
                    channel = await connection.channel(
                        publisher_confirms=True, on_return_raises=True
                    )
            except LIBRARY_ERRORS as error:
                raise Trouble(f"RabbitMQ did not open a channel: {said(error)}") from error
            try:
                yield channel
            finally:
                await hang_up(channel)
    except Trouble as trouble:
        raise for_a_person(trouble) from trouble


def for_a_person(trouble: Trouble) -> WorkerError:
    """Turn trouble into the error of a command: to be mended by someone, or to be waited out."""
    if trouble.needs_a_person:
        return Misconfigured(trouble.text)
    return Unavailable(PauseReason.PUBLISHER, trouble.text)
