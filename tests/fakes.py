"""Stand-ins for RabbitMQ and WhatsApp that keep what they were told, in memory."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from whatsapp_worker import outcome
from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import Unavailable

Step = str | Exception
"""What a scripted sender does: return this id, or raise this."""


@dataclass
class FakeBroker:
    """A queue in memory; fits ports.Broker.

    Attributes:
        settled: what was done, in order, as (verb, body).
        retries, letters, rejects: what was published, in order.
        trouble: raised by the next publish, as often as there are elements.
        prefetch: deliveries handed over at a time.
        held: of which deliveries that is so now.
    """

    settled: list[tuple[str, bytes]] = field(default_factory=list)
    retries: list[outcome.Retry] = field(default_factory=list)
    letters: list[outcome.DeadLetter] = field(default_factory=list)
    rejects: list[outcome.Reject] = field(default_factory=list)
    trouble: list[Unavailable] = field(default_factory=list)
    prefetch: int = 1000
    _queue: deque[Delivery | None] = field(default_factory=deque)
    held: set[Receipt] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, *deliveries: Delivery) -> None:
        self._queue.extend(deliveries)
        self._changed.set()

    def end(self) -> None:
        self._queue.append(None)
        self._changed.set()

    def stop(self) -> None:
        """End whatever is still in the queue."""
        self._queue.clear()
        self.end()

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        while True:
            while not self._queue or (self._queue[0] and len(self.held) >= self.prefetch):
                self._changed.clear()
                await self._changed.wait()
            delivery = self._queue.popleft()
            if delivery is None:
                return
            self.held.add(delivery.receipt)
            take(delivery)

    async def ack(self, delivery: Delivery) -> None:
        self._settle("ack", delivery)
        delivery.receipt.acked = True

    async def give_back(self, delivery: Delivery) -> None:
        if not delivery.receipt.lost:
            self._queue.appendleft(returned(delivery))
            self._settle("give back", delivery)

    async def reject(self, delivery: Delivery, reject: outcome.Reject) -> None:
        self._publish()
        self.rejects.append(reject)
        self._settle("reject", delivery)

    async def retry(self, delivery: Delivery, retry: outcome.Retry) -> None:
        self._publish()
        self.retries.append(retry)
        self.settled.append(("retry", delivery.body))

    async def dead_letter(self, delivery: Delivery, letter: outcome.DeadLetter) -> None:
        self._publish()
        self.letters.append(letter)
        self.settled.append(("dead letter", delivery.body))

    def _settle(self, verb: str, delivery: Delivery) -> None:
        self.settled.append((verb, delivery.body))
        self.held.discard(delivery.receipt)
        self._changed.set()

    def _publish(self) -> None:
        if self.trouble:
            raise self.trouble.pop(0)


@dataclass
class FakeSender:
    """Does what its script says, one step a send; then it sends.  Fits ports.Sender."""

    script: list[Step] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    before: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.may_end.set()

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        self.began.set()
        self.before()
        await self.may_end.wait()
        step = self.script.pop(0) if self.script else f"WA{len(self.sent) + 1}"
        if isinstance(step, Exception):
            raise step
        self.sent.append((envelope.destination, envelope.text_message))
        return step


def returned(delivery: Delivery) -> Delivery:
    """The same message as RabbitMQ hands it out once more after its channel was lost."""
    delivery.receipt.lost = True
    return replace(delivery, receipt=Receipt(), redelivered=True)
