"""Whatever happens in whatever order, nothing is lost and nothing SENT is sent again."""

import asyncio
import random
import tempfile
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, InDoubt, JobError, Transient
from whatsapp_worker.outcome import (
    AlreadySent,
    Doubtful,
    Fresh,
    Job,
    Retry,
    Superseded,
    Unfinished,
)
from whatsapp_worker.retry import RetryPolicy
from whatsapp_worker.settings import OnUnknown
from whatsapp_worker.store import SqliteLedger

T = TypeVar("T")

Who = tuple[str | None, bytes]
"""Messages that may stand for each other: their name, if any, and their content."""

STEPS = (
    "delivered",
    "claimed",  # W1
    "sending",  # W2
    "sent by WhatsApp",  # W3, or W6b
    "sent",  # W4
    "FAILED",  # the failure is committed, no copy yet
    "copied",  # W6
    "RETRY",  # W7
)
"""Places at which the process may end, each just after what it names."""


class Crash(Exception):
    """The process ends here."""


@dataclass
class Message:
    """What lies in the queue."""

    name: str | None
    content: bytes
    redelivered: bool = False
    job_key: str | None = None
    attempt: int = 0


class Machine(RuleBasedStateMachine):
    """A worker at prefetch 1 on a queue, with crashes, lost acks and lost channels anywhere.

    The real ledger and retry policy decide; the queue, WhatsApp and the crashes are simulated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.policy = RetryPolicy((1.0, 2.0), 1000, OnUnknown.RESEND, random.Random(0).random)
        self.queue: deque[Message] = deque()
        self.published: Counter[Who] = Counter()
        self.sent: Counter[Who] = Counter()
        self.doubts: Counter[Who] = Counter()
        self.dead: Counter[Who] = Counter()
        self.origin: dict[str, Who] = {}
        self.unproven: list[Receipt] = []
        self.now = 1e6
        self.ledger = self.opened()

    def teardown(self) -> None:
        try:
            self.drain()
            self.check()
        finally:
            self.do(self.ledger.close())
            self.runner.close()
            self.directory.cleanup()

    # What may happen --------------------------------------------------------------------------

    @rule(name=st.sampled_from([None, None, "one", "two"]))
    def publish(self, name: str | None) -> None:
        """Few names and contents, so that twins and duplicates are common."""
        content = (name or "text").encode()
        self.queue.append(Message(name, content))
        self.published[name, content] += 1

    @precondition(lambda self: self.queue)
    @rule(
        fails=st.booleans(),
        answered=st.booleans(),
        end_at=st.sampled_from([None, None, *STEPS]),
        ack=st.sampled_from(["processed", "processed", "lost", "unwritten", "unknown"]),
    )
    def work(self, fails: bool, answered: bool, end_at: str | None, ack: str) -> None:
        """Take the head of the queue and go on until done, or until the process ends."""
        message = self.queue.popleft()
        delivery = self.delivery(message)
        try:
            self.do(self.handle(message, delivery, fails, answered, end_at))
        except Crash:
            message.redelivered = True
            self.queue.appendleft(message)
            self.restart()
            return
        delivery.receipt.acked = ack != "unwritten"
        if ack in {"lost", "unwritten"}:  # The channel ended before RabbitMQ saw an ack.
            delivery.receipt.lost = True
            message.redelivered = True
            self.queue.appendleft(message)
        elif ack == "unknown":  # RabbitMQ saw it, and then the process ended.
            self.restart()
        else:
            self.unproven.append(delivery.receipt)

    # How it goes ------------------------------------------------------------------------------

    async def handle(
        self, message: Message, delivery: Delivery, fails: bool, answered: bool, end_at: str | None
    ) -> None:
        def reached(step: str) -> None:
            if step == end_at:
                raise Crash

        who = self.who(message)
        reached("delivered")
        async with self.ledger.claim(delivery, envelope(message)) as claim:
            reached("claimed")
            match claim:
                case AlreadySent() | Superseded():
                    return
                case Unfinished(job, error):
                    pass
                case Doubtful(job):
                    error = InDoubt("crashed")
                    self.doubts[who] += 1
                    job = await self.ledger.failed(job, error)
                case Fresh(job):
                    await self.ledger.sending(job)
                    reached("sending")
                    failure = self.whatsapp(who, fails, answered)
                    reached("sent by WhatsApp")
                    if failure is None:
                        await self.ledger.sent(job, "WA")
                        reached("sent")
                        return
                    error = failure
                    job = await self.ledger.failed(job, error)
            reached("FAILED")
            self.origin[job.key] = who
            await self.follow(message, job, error, reached)

    def whatsapp(self, who: Who, fails: bool, answered: bool) -> JobError | None:
        if not fails:
            self.sent[who] += 1
            return None
        if answered:
            return Transient(ErrorType.NETWORK, "no")
        self.sent[who] += 1
        self.doubts[who] += 1
        return InDoubt("no answer")

    async def follow(self, message: Message, job: Job, error: JobError, reached: Any) -> None:
        decided = self.policy.judge(error, job)
        if isinstance(decided, Retry):
            self.queue.append(
                Message(message.name, message.content, False, job.key, decided.attempt)
            )
            reached("copied")
            await self.ledger.retried(decided)
            reached("RETRY")
        else:
            self.dead[self.who(message)] += 1
            reached("copied")
            await self.ledger.dead(decided)

    def who(self, message: Message) -> Who:
        return message.name, message.content

    def delivery(self, message: Message) -> Delivery:
        """At prefetch 1 a first delivery proves every ack before it."""
        if not message.redelivered:
            for receipt in self.unproven:
                receipt.ack_proven = True
            self.unproven.clear()
        return Delivery(
            message.content,
            Receipt(),
            message_id=message.name,
            redelivered=message.redelivered,
            job_key=message.job_key,
            attempt=message.attempt,
            fingerprint=message.content,
        )

    def drain(self) -> None:
        for _ in range(10_000):
            if not self.queue:
                return
            self.work(False, True, None, "processed")
        raise AssertionError("the queue never empties")

    def check(self) -> None:
        for who, count in self.published.items():
            wanted = count if who[0] is None else 1
            sends = self.sent[who]
            assert sends + self.dead[who] >= wanted, f"{who}: lost, {sends} of {wanted}"
            assert sends <= wanted + self.doubts[who], f"{who}: sent {sends} times, not in doubt"

    # The process ------------------------------------------------------------------------------

    def restart(self) -> None:
        self.do(self.ledger.close())
        self.unproven.clear()
        self.ledger = self.opened()

    def opened(self) -> SqliteLedger:
        ledger = SqliteLedger(Path(self.directory.name), 1, lambda *_: None, self.clock)
        self.do(ledger.open())
        return ledger

    def clock(self) -> float:
        self.now += 1
        return self.now

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


def envelope(message: Message) -> WhatsAppEnvelope:
    return WhatsAppEnvelope.model_validate(
        {
            "user_id": str(UUID(int=1)),
            "text_message": message.content.decode(),
            "destination": "+5511999990001",
        }
    )


TestLedgerMachine = Machine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=120,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
