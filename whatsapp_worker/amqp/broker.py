"""RabbitMQ as the pipeline sees it: deliveries, and the five ways to settle one."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamqp.commands import Basic

from whatsapp_worker.amqp import copies
from whatsapp_worker.amqp.depths import Depths, Monitor
from whatsapp_worker.amqp.feed import Feed, own
from whatsapp_worker.amqp.publisher import Publisher, Undeliverable
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, PauseReason, Unavailable
from whatsapp_worker.outcome import DeadLetter, Reject, Retry

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

CLOSE_SECONDS = 8.0
"""Both connections are closed side by side: a channel and its connection take 3 s each at most."""


@dataclass(frozen=True, slots=True)
class Status:
    """How it stands with RabbitMQ.

    Attributes:
        connected: the connection for consuming stands.
        consuming: RabbitMQ delivers to us; not so while paused.
        topology_ok: every queue is there and fit for use.
        problem: one sentence for a person, None when all is well.
    """

    connected: bool
    consuming: bool
    topology_ok: bool
    problem: str | None


class RabbitMQ:
    """The broker: one connection to consume, one to publish, both kept standing by `run`.

    Args:
        settings: addresses, names and limits.
        report: pauses the worker for a reason, with a sentence; None ends that pause.
        lost: called when deliveries held became lost, so that who waits with one looks again.
    """

    def __init__(
        self,
        settings: "Settings",
        report: Callable[[PauseReason, str | None], None],
        lost: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._feed = Feed(settings, report, lost)
        self._publisher = Publisher(settings, "whatsapp-worker publisher", report)
        self._running = False
        self._close = asyncio.Event()
        self._closed = asyncio.Event()

    # Living -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep both connections standing until `close` or cancellation."""
        self._running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                kept = [
                    tasks.create_task(self._feed.run(), name="consume"),
                    tasks.create_task(self._publisher.run(), name="publish"),
                ]
                await self._close.wait()
                for task in kept:
                    task.cancel()
        finally:
            self._closed.set()

    async def pause(self) -> None:
        """Take no new deliveries; what is held can still be settled.  Never raises."""
        await self._feed.pause()

    async def resume(self) -> None:
        """Take deliveries again.  Never raises."""
        await self._feed.resume()

    async def stop(self) -> None:
        """Take no more deliveries, ever: `consume` returns.  What is held can be settled."""
        self._publisher.hurry()
        await self._feed.stop()

    async def close(self) -> None:
        """Close both connections; settlements that were written are seen through.

        Raises:
            TimeoutError: that took longer than CLOSE_SECONDS.
        """
        self._close.set()
        if self._running:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closed.wait()

    @property
    def status(self) -> Status:
        """How it stands now."""
        feed = self._feed
        return Status(
            connected=feed.connected,
            consuming=feed.consuming,
            topology_ok=feed.found is not None,
            problem=feed.problem or self._publisher.problem,
        )

    @property
    def depths(self) -> Depths:
        """How full the queues are; nothing is known while the broker is away."""
        return self._feed.monitor.depths if self._feed.monitor else Depths()

    # The pipeline's Broker ----------------------------------------------------------------------

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        """Hand over deliveries as they come, until `stop`."""
        await self._feed.consume(take)

    async def ack(self, delivery: Delivery) -> None:
        """Settle: done with.  Never raises; on a dead channel the message comes again."""
        receipt = own(delivery)
        receipt.session.ack(receipt)

    async def give_back(self, delivery: Delivery) -> None:
        """Settle: back to its place in the queue.  Never raises."""
        receipt = own(delivery)
        receipt.session.give_back(receipt)

    async def reject(self, delivery: Delivery, reject: Reject) -> None:
        """Settle: no job can be made of it.

        By nack where our own declare proved that the queue then keeps it until the dead-letter
        queue has it.  Anywhere else a nack may lose the message (classic queue, 200 of 200 with
        the exchange missing, measured), so a copy goes first.  A key conflict is always copied:
        `decode`, which explains rejected messages later, can not see it.

        Raises:
            Unavailable: no copy could be made; nothing was changed.
        """
        receipt = own(delivery)
        if receipt.lost:
            return
        keeper = self._keeper_of_rejected
        if keeper and reject.error.error_type is not ErrorType.KEY_CONFLICT:
            receipt.session.reject(receipt)
            keeper.letter_left()
            return
        queue = self._settings.whatsapp_queue_name
        await self._to_dead_letters(
            delivery,
            copies.reject_copy(receipt.origin, reject.error, delivery.job_key, queue, time.time()),
        )
        receipt.session.ack(receipt)

    async def retry(self, delivery: Delivery, retry: Retry) -> None:
        """Put a copy on the retry ladder; returns after RabbitMQ's confirm.

        Raises:
            Unavailable: RabbitMQ did not confirm the copy.
        """
        settings = self._settings
        rung = next(each for each in settings.retry_delays if each.seconds == retry.rung)
        copy = copies.traced(copies.retry_copy(own(delivery).origin, retry), delivery.trace_id)
        try:
            await self._publisher.publish(settings.retry_queue(rung), delivery.body, copy)
        except Undeliverable as error:
            if self._feed.monitor:
                self._feed.monitor.rung_missing()
            raise Unavailable(PauseReason.PUBLISHER, error.text) from error

    async def dead_letter(self, delivery: Delivery, letter: DeadLetter) -> None:
        """Put a copy that says why into the dead-letter queue; returns after RabbitMQ's confirm.

        Raises:
            Unavailable: RabbitMQ did not confirm the copy.
        """
        queue = self._settings.whatsapp_queue_name
        copy = copies.dead_letter_copy(own(delivery).origin, letter, queue, time.time())
        await self._to_dead_letters(delivery, copy)

    async def _to_dead_letters(self, delivery: Delivery, copy: Basic.Properties) -> None:
        """Publish straight to the queue, not to the exchange before it.

        So that "mandatory" speaks about the very queue, whoever bound what to the exchange.
        """
        try:
            await self._publisher.publish(
                self._settings.dead_letter_queue,
                delivery.body,
                copies.traced(copy, delivery.trace_id),
            )
        except Undeliverable as error:
            if self._feed.monitor:
                self._feed.monitor.dead_letters_refused(error.text)
            raise Unavailable(PauseReason.DEAD_LETTERS, error.text) from error
        if self._feed.monitor:
            self._feed.monitor.letter_kept()

    @property
    def _keeper_of_rejected(self) -> Monitor | None:
        """Who watches whether RabbitMQ keeps what is rejected; None where that is not certain."""
        found, monitor = self._feed.found, self._feed.monitor
        return monitor if found and found.ours and monitor and monitor.moves_rejected else None
