"""Which job a message without a key belongs to, when RabbitMQ hands it out once more.

A fresh delivery without a key is a job of its own: two identical texts are two messages.  Only a
*redelivered* one may belong to a job that was begun, and then only its content can tell which.
So the jobs whose delivery may still come again are remembered here (DESIGN 3):

* a job is matched at most once per return of its delivery, and never once its ack is proven;
* if the ack was written and its fate is unknown, the message that comes again is either this job or
  another one just like it, which RabbitMQ sent right behind the ack: that is doubtful, and never
  taken for "sent before".  RabbitMQ gives nothing to tell the two apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from whatsapp_worker.delivery import Delivery, Receipt

SETTLED = frozenset({"SENT", "RETRY", "DEAD"})
"""States in which a job's delivery was, or is about to be, acked."""


@dataclass(eq=False, slots=True)
class Keyless:
    """A keyless job whose delivery may come again.

    Attributes:
        key: of its row in the ledger.
        print: MAC of its content.
        receipt: of the delivery that stands for it now.
        state: of its row, None as long as there is none.
        inherited: a process before this one had its delivery: whether it acked is unknown.
    """

    key: str
    print: bytes
    receipt: Receipt
    state: str | None = None
    inherited: bool = False

    @property
    def may_return(self) -> bool:
        """Whether a redelivered message can be this one."""
        return not self.receipt.ack_proven and (self.receipt.lost or self.inherited)

    @property
    def doubtful(self) -> bool:
        """Whether a redelivered message may as well be another one just like it."""
        return self.state in SETTLED and (self.inherited or self.receipt.acked)


class KeylessJobs:
    """The keyless jobs that may come again, oldest first.

    Args:
        prefetch: how many deliveries can be unsettled at once.
    """

    def __init__(self, prefetch: int) -> None:
        # An ack is proven once `prefetch` more deliveries have come, and as many may have been
        # here before them: what has more successors than this can not be matched after a crash.
        self.reach = 2 * prefetch
        self._jobs: dict[str, Keyless] = {}

    def inherit(self, jobs: Iterable[Keyless]) -> None:
        """Take over what an earlier process left, oldest first."""
        for job in jobs:
            job.inherited = True
            self._jobs[job.key] = job

    def get(self, key: str) -> Keyless | None:
        """The job of this key, if it is one of ours."""
        return self._jobs.get(key)

    def match(self, print_: bytes, delivery: Delivery) -> Keyless | None:
        """Find the job that a delivery of this content belongs to, None if it is a new one.

        Jobs without a written ack come first: their deliveries return for certain, so only what
        comes beyond them can be a job whose ack was lost.
        """
        found = [
            job
            for job in self._jobs.values()
            if job.receipt is delivery.receipt
            or (delivery.redelivered and job.print == print_ and job.may_return)
        ]
        return min(found, key=lambda job: job.doubtful, default=None)

    def like(self, job: Keyless) -> list[Keyless]:
        """The other jobs with the same content."""
        return [
            other for other in self._jobs.values() if other.print == job.print and other is not job
        ]

    def add(self, key: str, print_: bytes, delivery: Delivery) -> Keyless:
        """Remember a new job, and forget the oldest ones that are out of reach."""
        job = self._jobs[key] = Keyless(key, print_, delivery.receipt)
        excess = len(self._jobs) - self.reach
        for old in list(islice(self._jobs.values(), max(0, excess))):
            # What was lost returns first of all, so once twice as many have come it never will:
            # its ack did arrive, although nothing proved it.
            over = old.receipt.lost and excess > self.reach
            if old.receipt.ack_proven or old.inherited or over:
                self.drop(old)
        return job

    def drop(self, job: Keyless) -> None:
        """Forget a job: its delivery does not come again, or is a new one when it does."""
        self._jobs.pop(job.key, None)
