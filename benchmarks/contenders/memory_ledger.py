"""A ledger that forgets everything with its process: what the daemon costs without one."""

from contextlib import AbstractAsyncContextManager as Context
from contextlib import nullcontext
from dataclasses import replace

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import InDoubt, JobError
from whatsapp_worker.outcome import AlreadySent, Claim, DeadLetter, Fresh, Job, Retry


class MemoryLedger:
    """Fits ports.Ledger; knows jobs by their AMQP message id, and what was sent.

    A benchmark's stand-in: it promises nothing, and knows nothing of copies.
    """

    def __init__(self) -> None:
        self._sent: set[str] = set()

    def claim(self, delivery: Delivery, envelope: WhatsAppEnvelope) -> Context[Claim]:
        """See ports.Ledger."""
        job = Job(delivery.message_id or "")
        return nullcontext(AlreadySent(job) if job.key in self._sent else Fresh(job))

    async def sending(self, job: Job) -> None:
        """See ports.Ledger."""

    async def unsent(self, job: Job) -> None:
        """See ports.Ledger."""

    async def sent(self, job: Job, whatsapp_id: str) -> None:
        """See ports.Ledger."""
        self._sent.add(job.key)

    async def failed(self, job: Job, error: JobError) -> Job:
        """See ports.Ledger."""
        doubt = isinstance(error, InDoubt)
        return replace(job, unknown_count=job.unknown_count + doubt)

    async def retried(self, retry: Retry) -> None:
        """See ports.Ledger."""

    async def dead(self, letter: DeadLetter) -> None:
        """See ports.Ledger."""
