"""What the ledger says of a delivery, what becomes of it, and what is told: frozen values."""

from dataclasses import dataclass

from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import JobError

# What the ledger says of a delivery -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """What the ledger knows of one message, across all its deliveries and copies.

    Attributes:
        key: the ledger key, 64 hex digits; says nothing about user, text or destination.
        attempt: failed attempts so far.
        unknown_count: how often a send of it ended without an answer.
        first_seen: when the worker first had it, Unix seconds.
    """

    key: str
    attempt: int = 0
    unknown_count: int = 0
    first_seen: float = 0.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """Not sent so far: send it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A send of it was begun, and how that ended is not known."""

    job: Job


@dataclass(frozen=True, slots=True)
class Unfinished:
    """It failed, and what follows from that (a retry or dead-letter copy) was not finished."""

    job: Job
    error: JobError


@dataclass(frozen=True, slots=True)
class AlreadySent:
    """It was sent before."""

    job: Job


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer copy of it exists, or it lies in the dead-letter queue: this one is stale."""

    job: Job


Claim = Fresh | Doubtful | Unfinished | AlreadySent | Superseded


# What becomes of a delivery --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """WhatsApp took it, under this id."""

    job: Job
    whatsapp_id: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Nothing to send: it was sent before, or a newer copy of it exists."""

    claim: AlreadySent | Superseded


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again later.

    Attributes:
        job: the job as it was when it failed.
        error: why.
        attempt: the attempt its copy carries.
        rung: nominal delay in seconds: names the rung of the retry ladder.
        delay: seconds to wait, at most `rung` (jitter).
    """

    job: Job
    error: JobError
    attempt: int
    rung: float
    delay: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give up: a copy that says why goes to the dead-letter queue.

    Attributes:
        job: the job as it was when it failed.
        error: why.
        attempts: failed attempts, the last one included.
    """

    job: Job
    error: JobError
    attempts: int


@dataclass(frozen=True, slots=True)
class Reject:
    """No job can be made of it: RabbitMQ dead-letters the message as it is."""

    error: JobError


Outcome = Sent | Duplicate | Retry | DeadLetter | Reject


@dataclass(frozen=True, slots=True)
class Record:
    """One settled delivery, told to every observer.  Giving a delivery back makes none.

    Attributes:
        delivery: what arrived.
        outcome: what became of it.
        seconds: from being taken up to being settled.
        envelope: the message, None if it could not be read; printing it shows no contents.
    """

    delivery: Delivery
    outcome: Outcome
    seconds: float
    envelope: WhatsAppEnvelope | None = None
