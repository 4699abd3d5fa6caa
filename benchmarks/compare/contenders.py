"""Who is compared, in the order of the tables."""

from dataclasses import dataclass

from benchmarks.compare import messages
from benchmarks.compare.messages import Pack
from benchmarks.compare.plan import Cell

JOB_LINE = b'"event": "job"'


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that empties a queue.

    Attributes:
        name: in tables.
        module: in `benchmarks.contenders`.
        argument: what it is called with, "" for nothing.
        pack: wraps the messages that it reads.
        logs: it writes a line with JOB_LINE for each message.
        checks: it reads messages, and so can tell their delays.
        least: the prefetch below which it is not measured.
        settles: seconds after the last message until its ack is written: most frameworks do that
            when our part has returned.
    """

    name: str
    module: str
    argument: str = ""
    pack: Pack = messages.plain
    logs: bool = True
    checks: bool = True
    least: int = 1
    settles: float = 0.3

    def fits(self, cell: Cell) -> bool:
        """Whether it can be measured under these conditions."""
        return cell.prefetch >= self.least and (self.checks or cell.pace is None)

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the interpreter."""
        name = f"benchmarks.contenders.{self.module}"
        return ("-m", name, self.argument) if self.argument else ("-m", name)


BARE = Contender("bare aio-pika", "aio_pika_alone", "bare", logs=False, checks=False)
CHECKING = Contender("aio-pika that only validates", "aio_pika_alone", "checking", logs=False)
COMMITTING = Contender("aio-pika with a commit each", "aio_pika_alone", "committing", logs=False)
OURS = Contender("whatsapp-worker", "ours", "ledger")
LEDGER_OFF = Contender("whatsapp-worker, ledger in memory", "ours", "memory")
FASTSTREAM = Contender("FastStream", "peer_faststream")
TASKIQ = Contender("taskiq", "peer_taskiq", pack=messages.taskiq)
DRAMATIQ = Contender("Dramatiq", "peer_dramatiq", pack=messages.dramatiq)
# It writes acks only when its loop wakes for something else: 4 messages/s, one at a time, and the
# last ones are late.
CELERY_SOLO = Contender(
    "Celery, solo", "peer_celery", "solo", messages.celery, least=2, settles=2.0
)
CELERY_PREFORK = Contender("Celery, prefork", "peer_celery", "prefork", messages.celery)
PIKA = Contender("pika", "peer_pika")

YARDSTICKS = (BARE, CHECKING, COMMITTING)
"""What the others are compared with."""

CONTENDERS = (
    BARE,
    CHECKING,
    LEDGER_OFF,
    COMMITTING,
    OURS,
    FASTSTREAM,
    TASKIQ,
    DRAMATIQ,
    CELERY_SOLO,
    CELERY_PREFORK,
    PIKA,
)

PACKAGES = (
    "aio-pika",
    "aiormq",
    "faststream",
    "taskiq",
    "taskiq-aio-pika",
    "dramatiq",
    "celery",
    "kombu",
    "pika",
    "phonenumbers",
    "prometheus-client",
)
"""Whose versions a report names."""
