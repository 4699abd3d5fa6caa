"""Every delivery is settled exactly once, and acked only after all that must not be lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.fakes import FakeBroker, FakeSender, returned
from tests.support.eventually import eventually
from whatsapp_worker import outcome
from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import Rules
from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)
from whatsapp_worker.outcome import Record
from whatsapp_worker.pacer import TurnPacer
from whatsapp_worker.pipeline import Pipeline
from whatsapp_worker.retry import RetryPolicy
from whatsapp_worker.settings import OnUnknown
from whatsapp_worker.store import SqliteLedger
from whatsapp_worker.store.database import Database, Row
from whatsapp_worker.store.pace import MUCH_TOO_LONG

NUMBER = "+5511999990001"
BROKEN = Transient(ErrorType.SERVER_ERROR, "WhatsApp answered 503")
OFFLINE = Unavailable(PauseReason.WHATSAPP, "offline")
NO_PUBLISHER = Unavailable(PauseReason.PUBLISHER, "no connection")


class Breathless:
    """Time in which a held delivery's breath is over at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10.0
        return self.now


class Worker:
    """The pipeline with a real ledger and pacer, between fakes of RabbitMQ and WhatsApp."""

    def __init__(
        self, directory: Path, on_unknown: OnUnknown = OnUnknown.RESEND, prefetch: int = 1
    ) -> None:
        self.broker = FakeBroker()
        self.sender = FakeSender()
        self.pacer = TurnPacer(0.0, Breathless())
        self.ledger = SqliteLedger(directory, prefetch, self.pacer.report)
        self.records: list[Record] = []
        policy = RetryPolicy((5.0, 30.0), 3, on_unknown, lambda: 0.0)
        self.pipeline = Pipeline(
            self.broker,
            self.ledger,
            self.pacer,
            self.sender,
            policy,
            Rules(),
            (self.records.append, self.pacer.observe),
        )

    async def handle(self, *deliveries: Delivery) -> list[str]:
        """Work off these deliveries; returns the names of what became of them."""
        for delivery in deliveries:
            async with asyncio.timeout(10):
                await self.pipeline.handle(delivery)
        return self.fates

    @property
    def fates(self) -> list[str]:
        return [type(record.outcome).__name__ for record in self.records]

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.broker.settled]


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path)
    await worker.ledger.open()
    yield worker
    await worker.ledger.close()


@pytest.fixture
async def parking(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path, OnUnknown.PARK)
    await worker.ledger.open()
    yield worker
    await worker.ledger.close()


def job(number: int = 1, **fields: object) -> Delivery:
    body = {"user_id": str(UUID(int=1)), "text_message": f"text {number}", "destination": NUMBER}
    return Delivery(json.dumps(body | fields).encode(), Receipt(), message_id=f"m-{number}")


async def test_sends_a_message_and_then_acks_it(worker: Worker) -> None:
    assert await worker.handle(job()) == ["Sent"]
    assert worker.sender.sent == [(NUMBER, "text 1")]
    assert worker.verbs == ["ack"]


async def test_acks_a_duplicate_without_sending_it(worker: Worker) -> None:
    first = job()
    await worker.handle(first)
    assert await worker.handle(returned(first), job()) == ["Sent", "Duplicate", "Duplicate"]
    assert len(worker.sender.sent) == 1
    assert worker.verbs == ["ack", "ack", "ack"]


async def test_rejects_what_is_no_job_with_its_reason(worker: Worker) -> None:
    assert await worker.handle(job(destination="12")) == ["Reject"]
    assert worker.verbs == ["reject"]
    assert worker.broker.rejects[0].error.error_type is ErrorType.INVALID_PHONE


async def test_rejects_a_key_used_for_other_content(worker: Worker) -> None:
    other = replace(job(2), message_id="m-1")
    assert await worker.handle(job(1), other) == ["Sent", "Reject"]
    assert worker.broker.rejects[0].error.error_type is ErrorType.KEY_CONFLICT
    assert worker.records[1].envelope is not None


async def test_a_bad_message_does_not_hold_up_the_next(worker: Worker) -> None:
    worker.broker.put(Delivery(b"\xff", Receipt()), job())
    worker.broker.end()
    await worker.pipeline.run()
    assert worker.fates == ["Reject", "Sent"]


async def test_publishes_a_retry_copy_before_it_acks(worker: Worker) -> None:
    worker.sender.script = [BROKEN]
    assert await worker.handle(job()) == ["Retry"]
    assert worker.verbs == ["retry", "ack"]
    assert (worker.broker.retries[0].attempt, worker.broker.retries[0].rung) == (1, 5.0)


async def test_sends_the_retry_copy_and_not_the_original(worker: Worker) -> None:
    worker.sender.script = [BROKEN]
    first = job()
    await worker.handle(first)
    retry = worker.broker.retries[0]
    copy = replace(job(), job_key=retry.job.key, attempt=retry.attempt)
    assert await worker.handle(returned(first), copy) == ["Retry", "Duplicate", "Sent"]
    stale = worker.records[1].outcome
    assert isinstance(stale, outcome.Duplicate)
    assert isinstance(stale.claim, outcome.Superseded)


async def test_dead_letters_a_job_whose_attempts_are_used_up(worker: Worker) -> None:
    worker.sender.script = [BROKEN, BROKEN, BROKEN]
    await worker.handle(job())
    for _ in range(2):
        retry = worker.broker.retries[-1]
        await worker.handle(replace(job(), job_key=retry.job.key, attempt=retry.attempt))
    assert worker.fates == ["Retry", "Retry", "DeadLetter"]
    assert worker.verbs[-2:] == ["dead letter", "ack"]
    assert worker.broker.letters[0].attempts == 3


async def test_dead_letters_what_whatsapp_refuses_at_once(worker: Worker) -> None:
    worker.sender.script = [Refused(ErrorType.NOT_ON_WHATSAPP, "no account")]
    assert await worker.handle(job()) == ["DeadLetter"]


async def test_sends_a_job_in_doubt_once_more_and_then_gives_up(worker: Worker) -> None:
    worker.sender.script = [InDoubt("no answer"), InDoubt("no answer")]
    await worker.handle(job())
    retry = worker.broker.retries[0]
    await worker.handle(replace(job(), job_key=retry.job.key, attempt=retry.attempt))
    assert worker.fates == ["Retry", "DeadLetter"]
    assert worker.broker.letters[0].job.unknown_count == 2


async def test_parks_a_job_in_doubt_when_told_to(parking: Worker) -> None:
    parking.sender.script = [InDoubt("no answer")]
    assert await parking.handle(job()) == ["DeadLetter"]
    assert parking.broker.letters[0].error.error_type is ErrorType.UNKNOWN_OUTCOME


async def test_a_bug_in_the_sender_counts_as_a_send_in_doubt(worker: Worker) -> None:
    worker.sender.script = [ZeroDivisionError("secret +5511999990001")]
    assert await worker.handle(job()) == ["Retry"]
    error = worker.broker.retries[0].error
    assert isinstance(error, InDoubt)
    assert "ZeroDivisionError" in error.detail
    assert NUMBER not in error.detail


async def test_a_crash_in_mid_send_is_counted_as_doubt(tmp_path: Path) -> None:
    before = Worker(tmp_path)
    await before.ledger.open()
    before.sender.may_end.clear()
    first = job()
    cut = asyncio.create_task(before.pipeline.handle(first))
    await before.sender.began.wait()
    cut.cancel()
    await asyncio.gather(cut, return_exceptions=True)
    await before.ledger.close()
    after = Worker(tmp_path)
    await after.ledger.open()
    assert await after.handle(returned(first)) == ["Retry"]
    assert after.broker.retries[0].job.unknown_count == 1
    assert after.sender.sent == []
    await after.ledger.close()


async def test_an_outage_found_by_a_send_costs_no_attempt(worker: Worker) -> None:
    worker.sender.script = [OFFLINE, OFFLINE, OFFLINE, OFFLINE]
    assert await worker.handle(job()) == ["Sent"]
    assert worker.verbs == ["ack"]


async def test_publishes_the_copy_later_when_the_publisher_is_away(worker: Worker) -> None:
    worker.sender.script = [BROKEN]
    worker.broker.trouble = [NO_PUBLISHER, NO_PUBLISHER]
    assert await worker.handle(job()) == ["Retry"]
    assert worker.verbs == ["retry", "ack"]
    assert worker.sender.sent == []


async def test_rejects_later_when_the_dead_letter_queue_is_away(worker: Worker) -> None:
    worker.broker.trouble = [Unavailable(PauseReason.DEAD_LETTERS, "missing")]
    assert await worker.handle(Delivery(b"{", Receipt())) == ["Reject"]


async def test_gives_back_what_waits_when_the_worker_lets_go(worker: Worker) -> None:
    worker.pacer.report(PauseReason.WHATSAPP, "offline")
    waiting = asyncio.create_task(worker.pipeline.handle(job()))
    await asyncio.sleep(0)
    worker.pacer.let_go()
    await waiting
    assert worker.verbs == ["give back"]
    assert worker.records == []


async def test_does_not_send_what_has_gone_back_meanwhile(worker: Worker) -> None:
    worker.pacer.report(PauseReason.WHATSAPP, "offline")
    first = job()
    waiting = asyncio.create_task(worker.pipeline.handle(first))
    await asyncio.sleep(0)
    again = returned(first)
    worker.pacer.wake()
    worker.pacer.report(PauseReason.WHATSAPP, None)
    await waiting
    assert await worker.handle(again) == ["Sent"]
    assert len(worker.sender.sent) == 1


async def test_a_delivery_that_comes_again_in_mid_send_is_not_sent_twice(worker: Worker) -> None:
    worker.sender.may_end.clear()
    first = job()
    sending = asyncio.create_task(worker.pipeline.handle(first))
    await worker.sender.began.wait()
    again = asyncio.create_task(worker.pipeline.handle(returned(first)))
    await asyncio.sleep(0)
    worker.sender.may_end.set()
    await asyncio.gather(sending, again)
    assert worker.fates == ["Sent", "Duplicate"]
    assert len(worker.sender.sent) == 1


async def test_sends_in_the_order_of_the_queue(worker: Worker) -> None:
    worker.broker.put(*(job(number) for number in range(20)))
    worker.broker.end()
    await worker.pipeline.run()
    assert [text for _, text in worker.sender.sent] == [f"text {n}" for n in range(20)]


class Commits:
    """What a ledger commits, and together with what: states, and numbers for keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[list[tuple[str, int]]] = []
        self._keys: dict[str, int] = {}
        at_once, on_thread = Database.put, Database.put_on_thread

        def put(database: Database, rows: Sequence[Row]) -> bool:
            self._note(rows)
            return at_once(database, rows)

        async def put_on_thread(database: Database, rows: Sequence[Row]) -> bool:
            self._note(rows)
            return await on_thread(database, rows)

        monkeypatch.setattr(Database, "put", put)
        monkeypatch.setattr(Database, "put_on_thread", put_on_thread)

    def _note(self, rows: Sequence[Row]) -> None:
        keys = self._keys
        self.made.append([(row.state, keys.setdefault(row.key, len(keys) + 1)) for row in rows])


@pytest.mark.parametrize("seconds", [0.0, 2 * MUCH_TOO_LONG], ids=["quick file", "slow file"])
async def test_the_result_of_a_job_and_the_beginning_of_the_next_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """So at most one job is SENDING at any time, and one commit a job is enough."""
    worker = Worker(tmp_path, prefetch=5)
    await worker.ledger.open()
    worker.ledger._file._pace.took(seconds)
    commits = Commits(monkeypatch)
    worker.broker.put(*(job(number) for number in range(5)))
    worker.broker.end()
    await worker.pipeline.run()
    between = [[("SENT", n), ("SENDING", n + 1)] for n in range(1, 5)]
    assert commits.made == [[("SENDING", 1)], *between, [("SENT", 5)]]
    await worker.ledger.close()


async def test_one_at_a_time_no_result_waits_for_what_can_not_come(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = Commits(monkeypatch)
    await worker.handle(job(1), job(2))
    assert commits.made == [[("SENDING", 1)], [("SENT", 1)], [("SENDING", 2)], [("SENT", 2)]]


async def test_finishes_what_was_begun_when_deliveries_end(worker: Worker) -> None:
    worker.sender.may_end.clear()
    worker.broker.put(job())
    running = asyncio.create_task(worker.pipeline.run())
    await worker.sender.began.wait()
    worker.broker.end()
    worker.sender.may_end.set()
    await running
    assert worker.verbs == ["ack"]


async def test_what_waits_for_its_turn_is_given_back_in_the_order_of_the_queue(
    worker: Worker,
) -> None:
    jobs = [job(number) for number in range(5)]
    worker.pacer.report(PauseReason.WHATSAPP, "offline")
    worker.broker.put(*jobs)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.pipeline.run())
        await eventually(lambda: len(worker.broker.held) == 5)
        worker.broker.prefetch = 0
        worker.pacer.let_go()
        await eventually(lambda: not worker.broker.held)
        worker.broker.stop()
    assert worker.broker.settled == [("give back", each.body) for each in jobs]


async def test_what_was_lost_before_anybody_looked_at_it_is_left_to_come_again(
    worker: Worker,
) -> None:
    lost = job()
    again = returned(lost)
    assert await worker.handle(lost) == []
    assert worker.verbs == []
    assert await worker.handle(again) == ["Sent"]


async def test_pauses_for_everyone_after_three_throttled_recipients(worker: Worker) -> None:
    worker.sender.script = [Throttled(ErrorType.THROTTLED, "429")] * 3
    jobs = [job(number, destination=f"+551199999000{number}") for number in range(3)]
    # Breathless time passes at every look, so the pause shows in how far it has gone.
    await worker.handle(*jobs)
    assert worker.pacer._throttled_until > 0
