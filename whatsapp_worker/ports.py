"""What the pipeline needs of its four collaborators; adapters fit these, `app.py` joins them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager as Context
from typing import Protocol

from whatsapp_worker import outcome
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import JobError


class Broker(Protocol):
    """RabbitMQ.  What raises Unavailable has changed nothing that a second call would not mend."""

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        """Hand over deliveries as they come; return when the worker is to end."""
        ...

    async def ack(self, delivery: Delivery) -> None:
        """Say that the delivery is done; never raises, as what is not acked comes again."""
        ...

    async def give_back(self, delivery: Delivery) -> None:
        """Put the delivery back where it was in its queue; never raises."""
        ...

    async def reject(self, delivery: Delivery, reject: outcome.Reject) -> None:
        """Dead-letter and settle a delivery no job can be made of; raises Unavailable."""
        ...

    async def retry(self, delivery: Delivery, retry: outcome.Retry) -> None:
        """Return once the broker confirmed the retry copy; raises Unavailable.  Does not ack."""
        ...

    async def dead_letter(self, delivery: Delivery, letter: outcome.DeadLetter) -> None:
        """Return once the broker confirmed the dead letter; raises Unavailable.  Does not ack."""
        ...


class Ledger(Protocol):
    """What survives a crash.  Each method returns after its commit, and they commit in order."""

    def claim(self, delivery: Delivery, envelope: WhatsAppEnvelope) -> Context[outcome.Claim]:
        """Hold the job of a delivery; a second claim of it waits until the first is over.

        Raises Unavailable, or Invalid if its key stands for a message of other content.
        """
        ...

    async def sending(self, job: outcome.Job) -> None:
        """Commit that a send begins now; raises Unavailable, and then it must not begin."""
        ...

    async def unsent(self, job: outcome.Job) -> None:
        """Take `sending` back: the message surely did not leave.  Keeps trying until committed."""
        ...

    async def sent(self, job: outcome.Job, whatsapp_id: str) -> None:
        """Commit that WhatsApp took the message.  Keeps trying until committed."""
        ...

    async def failed(self, job: outcome.Job, error: JobError) -> outcome.Job:
        """Commit a failure, and return the job with it counted.  Keeps trying until committed."""
        ...

    async def retried(self, retry: outcome.Retry) -> None:
        """Commit that the retry copy exists; raises Unavailable."""
        ...

    async def dead(self, letter: outcome.DeadLetter) -> None:
        """Commit that the dead letter exists; raises Unavailable."""
        ...


class Pacer(Protocol):
    """Who may send, and when."""

    def turn(self, delivery: Delivery) -> Context[None]:
        """Hold the one turn to send; raises Unavailable when the delivery is to be given back."""
        ...

    async def hold(self, delivery: Delivery) -> bool:
        """Wait until work may go on; False says that the delivery is to be given back."""
        ...


class Sender(Protocol):
    """WhatsApp."""

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """Send a message and return WhatsApp's id of it; raises a JobError or Unavailable."""
        ...
