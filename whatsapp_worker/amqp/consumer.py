"""Consuming on one channel: deliveries in, settlements out, and what is known to be lost."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from whatsapp_worker.amqp.incoming import Arrival, Origin, delivery_of, origin_of
from whatsapp_worker.amqp.proofs import Proofs
from whatsapp_worker.amqp.session import (
    CALL_SECONDS,
    LIBRARY_ERRORS,
    Trouble,
    at_most,
    end,
    hang_up,
    said,
)
from whatsapp_worker.amqp.wire import Wire
from whatsapp_worker.delivery import Delivery, Receipt

CANCEL_SECONDS = 5.0
"""How long cancelling a consumer may take: during an outage it would wait for ever (measured)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How to consume.

    Attributes:
        queue: from where.
        prefetch: deliveries held at a time.
        max_attempts: the greatest believable `x-attempt`.
        exclusive: refuse other consumers beside us (RabbitMQ heeds this on classic queues only).
    """

    queue: str
    prefetch: int
    max_attempts: int
    exclusive: bool


@dataclass(eq=False, slots=True)
class ChannelReceipt(Receipt):
    """A receipt that knows its channel.

    Attributes:
        session: what it came on.
        tag: its number there.
        origin: what its copies inherit.
        settled: an ack or nack was written.
    """

    session: "Session" = field(kw_only=True)
    tag: int = field(kw_only=True)
    origin: Origin = field(kw_only=True)
    settled: bool = False


class Session:
    """One channel to consume on, for as long as it lives.

    Settling never raises: what a dead channel could not settle comes again, and the ledger knows.

    Args:
        connection: the channel's; its end is the end of this session.
        channel: opened for this session alone.
        wire: the connection's.
        plan: what to consume, and how.
        proofs: told of every delivery and settlement.
        deliver: takes each delivery; must not block.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        channel: AbstractChannel,
        wire: Wire,
        plan: Plan,
        proofs: Proofs,
        deliver: Callable[[Delivery], object],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._wire = wire
        self._tap = wire.listen(channel.number, plan.prefetch, self._on_arrival)
        self._plan = plan
        self._proofs = proofs
        self._deliver = deliver
        self._open: dict[int, ChannelReceipt] = {}
        self._consumer: str | None = None
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        channel.on_consumer_cancel_callbacks.add(self._on_broker_cancel)
        self._abandoned = False
        self.deliveries = 0

    @property
    def consuming(self) -> bool:
        """RabbitMQ delivers to us."""
        return self._consumer is not None and not self._channel.is_closed

    @property
    def idle(self) -> bool:
        """Nothing is held: whatever is ready could be delivered."""
        return not self._open

    async def consume(self) -> None:
        """Start to consume; raises LIBRARY_ERRORS."""
        if self.consuming:
            return
        self._proofs.consuming(self._plan.prefetch)
        async with at_most(CALL_SECONDS):
            await self._channel.basic_qos(prefetch_count=self._plan.prefetch)
            started = await self._channel.basic_consume(
                self._plan.queue, self._passed_by, exclusive=self._plan.exclusive
            )
        self._consumer = started.consumer_tag

    async def cancel(self) -> None:
        """Take no new deliveries; what is held stays held.  Gives the session up if that fails."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            async with at_most(CANCEL_SECONDS):
                await self._channel.basic_cancel(consumer)
        except LIBRARY_ERRORS as error:
            self.fail(f"RabbitMQ did not cancel our consumer: {said(error)}")

    def fail(self, why: str) -> None:
        """Give the session up: its connection is closed, and everything held comes again."""
        if not self._failure.done():
            self._failure.set_result(why)

    async def lost(self) -> Trouble:
        """Wait for the end of connection, channel or consumer; return why it came."""
        return await end(self._connection, self._channel, self._failure)

    def abandon(self) -> int:
        """Mark what is held as lost; return how many that are."""
        self._consumer = None
        self._abandoned = True
        for receipt in self._open.values():
            receipt.lost = True
        count = len(self._open)
        self._open.clear()
        return count

    async def close(self) -> None:
        """Close the channel, and thereby see every settlement through that was written."""
        self._wire.flush()
        await hang_up(self._channel)

    def ack(self, receipt: ChannelReceipt) -> None:
        """Settle: the message is done with."""
        self._settle(receipt, self._tap.ack, final=True)

    def give_back(self, receipt: ChannelReceipt) -> None:
        """Settle: the message takes its place in the queue again.

        By nack: RabbitMQ 4.3 counts a reject against the delivery limit, a nack not.
        """
        self._settle(receipt, self._tap.requeue, final=False)
        receipt.lost = True  # It comes again, and then belongs to whatever was begun of it.

    def reject(self, receipt: ChannelReceipt) -> None:
        """Settle: RabbitMQ moves the message to where the queue dead-letters."""
        self._settle(receipt, self._tap.reject, final=True)

    def _settle(
        self, receipt: ChannelReceipt, write: Callable[[int], None], *, final: bool
    ) -> None:
        if receipt.lost or receipt.settled:
            return
        receipt.settled, receipt.acked = True, final
        try:
            write(receipt.tag)
        except ConnectionError as error:
            self.fail(f"a settlement could not be written: {said(error)}")
            return
        self._open.pop(receipt.tag, None)
        self._proofs.settled(receipt if final else None)

    def _on_arrival(self, arrival: Arrival) -> None:
        if self._abandoned or self._failure.done():
            return  # It comes again, in a session that lives.
        receipt = ChannelReceipt(session=self, tag=arrival.tag, origin=origin_of(arrival))
        self._open[receipt.tag] = receipt
        self.deliveries += 1
        try:
            delivery = delivery_of(arrival, receipt, self._plan.max_attempts)
        except Exception:
            # Unreachable as far as tests can tell; were it not, the message would hold up the
            # queue for ever, unsettled and unseen.  So it goes where bad properties go.
            log.exception("a bug in reading a message's properties")
            delivery = Delivery(arrival.body, receipt, repaired=("headers",))
        self._proofs.delivered(redelivered=delivery.redelivered)
        self._deliver(delivery)

    async def _passed_by(self, _: DeliveredMessage) -> None:
        """What aiormq would call for a delivery, were they not taken off the wire before."""
        self.fail("a delivery was not recognised on the wire")

    def _on_broker_cancel(self, _: object) -> None:
        """Give up: on some brokers a cancelled consumer leaves the queue locked until then.

        rabbitmq-server issue 17317: a single-active-consumer quorum queue can stay without any
        active consumer for as long as the cancelled one's channel lives.
        """
        self.fail("RabbitMQ cancelled our consumer: the queue was deleted or moved")
