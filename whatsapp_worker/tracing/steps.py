"""What a job did, noted while it is done: when each call to broker and sender began and ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import JobError, Unavailable
from whatsapp_worker.outcome import DeadLetter, Reject, Retry
from whatsapp_worker.ports import Broker, Sender
from whatsapp_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Step:
    """One call.

    Attributes:
        operation: `send`, `ack` or `reject`.
        queue: the queue it was about; None for WhatsApp.
        began, ended: by the monotonic clock, in seconds.
        error: the kind of its failure, None if it went well.
    """

    operation: str
    queue: str | None
    began: float
    ended: float
    error: str | None


_steps: ContextVar[tuple[Step, ...]] = ContextVar("steps", default=())
"""Of the delivery that the current task works on."""


def take_steps() -> tuple[Step, ...]:
    """Return the steps of the current task, and begin anew."""
    steps = _steps.get()
    _steps.set(())
    return steps


@contextmanager
def _noting(operation: str, queue: str | None) -> Iterator[None]:
    began, error = monotonic(), None
    try:
        yield
    except BaseException as failure:
        error = _kind(failure)
        raise
    finally:
        _steps.set((*_steps.get(), Step(operation, queue, began, monotonic(), error)))


def _kind(failure: BaseException) -> str:
    match failure:
        case JobError():
            return str(failure.error_type)
        case Unavailable():
            return f"unavailable_{failure.reason}"
        case _:
            return type(failure).__name__


class NotingSender:
    """A sender whose sends are noted."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """See ports.Sender.send."""
        with _noting("send", None):
            return await self._sender.send(envelope)


class NotingBroker:
    """A broker whose settlements and copies are noted; see ports.Broker."""

    def __init__(self, broker: Broker, settings: Settings) -> None:
        self._broker = broker
        self._queue = settings.whatsapp_queue_name
        self._dead_letters = settings.dead_letter_queue
        self._rungs = {rung.seconds: settings.retry_queue(rung) for rung in settings.retry_delays}

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        """Hand over deliveries as they come."""
        await self._broker.consume(take)

    async def ack(self, delivery: Delivery) -> None:
        """Settle: done with."""
        with _noting("ack", self._queue):
            await self._broker.ack(delivery)

    async def give_back(self, delivery: Delivery) -> None:
        """Settle: back to its place; there will be no record, and so no span."""
        await self._broker.give_back(delivery)

    async def reject(self, delivery: Delivery, reject: Reject) -> None:
        """Settle: no job can be made of it."""
        with _noting("reject", self._queue):
            await self._broker.reject(delivery, reject)

    async def retry(self, delivery: Delivery, retry: Retry) -> None:
        """Publish a copy to the retry ladder."""
        with _noting("send", self._rungs[retry.rung]):
            await self._broker.retry(delivery, retry)

    async def dead_letter(self, delivery: Delivery, letter: DeadLetter) -> None:
        """Publish a copy to the dead-letter queue."""
        with _noting("send", self._dead_letters):
            await self._broker.dead_letter(delivery, letter)
