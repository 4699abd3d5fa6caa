from types import SimpleNamespace
from typing import Any

import pytest
from aiormq.exceptions import ChannelNotFoundEntity

from whatsapp_worker.amqp import depths
from whatsapp_worker.amqp.depths import Depths, Monitor
from whatsapp_worker.amqp.session import Trouble
from whatsapp_worker.amqp.topology import Count
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.settings import Settings


class Broker:
    """What a topology and a session show, as one."""

    settings = Settings()

    def __init__(self) -> None:
        self.work: Count | Exception = Count(0, 1)
        self.dead: Count | Exception = Count(0, 0)
        self.repaired: Count | Trouble | None = None
        self.ladders = 0
        self.session = SimpleNamespace(consuming=True, idle=True, deliveries=0)
        self.reports: list[str | None] = []
        self.now = 0.0

    async def count(self, queue: str) -> Count:
        answer = self.work if queue == self.settings.whatsapp_queue_name else self.dead
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def dead_letters(self) -> Count:
        answer = self.repaired or self.dead
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ladder(self) -> None:
        self.ladders += 1

    def report(self, reason: PauseReason, why: str | None) -> None:
        assert reason is PauseReason.DEAD_LETTERS
        self.reports.append(why)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(depths, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def monitor(broker: Broker) -> Monitor:
    fake: Any = broker
    return Monitor(fake, fake.session, broker.report)


async def test_it_counts(broker: Broker, monitor: Monitor) -> None:
    broker.work, broker.dead = Count(7, 1), Count(3, 0)
    assert monitor.depths == Depths()
    await monitor._probe()
    assert monitor.depths == Depths(7, 3)
    assert broker.reports == [None]


async def test_a_consumer_that_rabbitmq_forgot_ends_the_session(
    broker: Broker, monitor: Monitor
) -> None:
    broker.work = Count(0, 0)
    await monitor._probe()
    assert "no longer knows" in (await monitor.watch()).text


async def test_a_pause_is_no_forgotten_consumer(broker: Broker, monitor: Monitor) -> None:
    broker.work = Count(5, 0)
    broker.session.consuming = False
    for _ in range(3):
        broker.now += 60
        await monitor._probe()


async def test_ready_messages_that_never_come_end_the_session(
    broker: Broker, monitor: Monitor
) -> None:
    broker.work = Count(5, 1)
    await monitor._probe()
    broker.now = 59
    await monitor._probe()
    broker.now = 60
    assert "delivers nothing" in (await monitor.watch()).text


@pytest.mark.parametrize("change", ["a delivery", "one held", "another consumer", "none ready"])
async def test_no_silence_is_suspicious_while(
    broker: Broker, monitor: Monitor, change: str
) -> None:
    broker.work = Count(5, 1)
    for _ in range(5):
        match change:
            case "a delivery":
                broker.session.deliveries += 1
            case "one held":
                broker.session.idle = False
            case "another consumer":
                broker.work = Count(5, 2)
            case _:
                broker.work = Count(0, 1)
        broker.now += 60
        await monitor._probe()


async def test_a_deleted_dead_letter_queue_pauses_until_it_is_made_again(
    broker: Broker, monitor: Monitor
) -> None:
    broker.dead = ChannelNotFoundEntity("no queue")
    broker.repaired = Trouble("not allowed")
    await monitor._probe()
    assert not monitor.dead_letters_safe
    assert broker.reports[-1] == "not allowed"
    assert monitor.depths == Depths(0, None)
    broker.repaired = Count(0, 0)
    await monitor._probe()
    assert monitor.dead_letters_safe
    assert broker.reports[-1] is None


async def test_a_full_queue_is_tried_again_when_it_has_shrunk_or_after_a_while(
    broker: Broker, monitor: Monitor
) -> None:
    broker.dead = Count(10, 0)
    monitor.dead_letters_refused("full")
    for now, messages, still in ((1, 10, True), (2, 10, True), (3, 9, False)):
        broker.now, broker.dead = now, Count(messages, 0)
        await monitor._probe()
        assert monitor.dead_letters_safe is not still
    monitor.dead_letters_refused("full")
    broker.now = 32
    await monitor._probe()
    assert not monitor.dead_letters_safe
    broker.now = 33
    await monitor._probe()
    assert monitor.dead_letters_safe


async def test_a_missing_rung_is_made_at_once(broker: Broker, monitor: Monitor) -> None:
    monitor.rung_missing()
    await monitor._probe()
    await monitor._probe()
    assert broker.ladders == 1


async def test_no_answer_ends_the_session(broker: Broker, monitor: Monitor) -> None:
    broker.work = ConnectionResetError("gone")
    assert "gone" in (await monitor.watch()).text


async def test_rabbitmq_is_left_to_move_what_is_rejected_as_long_as_that_is_proven(
    broker: Broker, monitor: Monitor
) -> None:
    await monitor._probe()
    assert monitor.moves_rejected
    broker.now += depths.PROVEN_SECONDS
    assert not monitor.moves_rejected
    monitor.letter_kept()
    for _ in range(depths.PROVEN_LETTERS):
        assert monitor.moves_rejected
        monitor.letter_left()
    assert not monitor.moves_rejected
    monitor.letter_kept()
    monitor.dead_letters_refused("full")
    assert not monitor.moves_rejected


async def test_further_reasons_for_one_pause_are_logged_once_each(
    broker: Broker, monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    """The first is logged by whoever is told of the pause; RabbitMQ's own words come later."""
    broker.dead, broker.repaired = ChannelNotFoundEntity("gone"), Trouble("ACCESS_REFUSED")
    for _ in range(3):
        await monitor._probe()
    assert [each.getMessage() for each in caplog.records] == [
        "still no place for dead letters: ACCESS_REFUSED"
    ]
