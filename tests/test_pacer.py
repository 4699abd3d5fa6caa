"""One turn at a time, some time apart, none while paused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, PauseReason, Throttled, Transient, Unavailable
from whatsapp_worker.outcome import Job, Outcome, Record, Retry, Sent
from whatsapp_worker.pacer import FIRST_THROTTLE_PAUSE, LONGEST_THROTTLE_PAUSE, TurnPacer

OFFLINE = PauseReason.WHATSAPP


def delivery() -> Delivery:
    return Delivery(b"", Receipt())


def pacer(interval: float = 0.0) -> TurnPacer:
    return TurnPacer(interval, uniform=lambda low, high: (low + high) / 2)


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiting(pacer: TurnPacer, on: Delivery) -> AsyncIterator[asyncio.Task[str]]:
    async def take() -> str:
        async with pacer.turn(on):
            return "had a turn"

    task = asyncio.create_task(take())
    await settled()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_gives_one_turn_at_a_time() -> None:
    one = pacer()
    async with one.turn(delivery()), waiting(one, delivery()) as second:
        assert not second.done()
    async with one.turn(delivery()):
        pass


async def test_keeps_the_interval_between_two_turns() -> None:
    clock = Clock()
    slow = TurnPacer(5.0, clock, uniform=lambda low, high: high)
    async with slow.turn(delivery()):
        pass
    async with waiting(slow, delivery()) as second:
        clock.now += 6.4  # 5 s and 30 % jitter on top
        slow.wake()
        await settled()
        assert not second.done()
        clock.now += 0.2
        slow.wake()
        assert await second == "had a turn"


async def test_tells_how_long_a_turn_has_been_held() -> None:
    clock = Clock()
    one = TurnPacer(0, clock)
    assert one.sending_for == 0
    async with one.turn(delivery()):
        clock.now += 7
        assert one.sending_for == 7
    assert one.sending_for == 0


async def test_waits_for_its_time_without_being_woken() -> None:
    brisk = pacer(0.02)
    async with brisk.turn(delivery()):
        pass
    async with waiting(brisk, delivery()) as second:
        assert await second == "had a turn"


async def test_gives_no_turn_until_every_reason_to_pause_is_gone() -> None:
    one = pacer()
    one.report(OFFLINE, "offline")
    one.report(PauseReason.LEDGER, "disk full")
    async with waiting(one, delivery()) as task:
        one.report(OFFLINE, None)
        await settled()
        assert not task.done()
        assert one.paused == {PauseReason.LEDGER: "disk full"}
        one.report(PauseReason.LEDGER, None)
        assert await task == "had a turn"


async def test_refuses_turns_after_letting_go_and_gives_them_after_a_welcome() -> None:
    one = pacer()
    one.report(OFFLINE, "offline")
    async with waiting(one, delivery()) as task:
        one.let_go()
        with pytest.raises(Unavailable):
            await task
    assert await one.hold(delivery()) is False
    one.welcome()
    one.report(OFFLINE, None)
    async with waiting(one, delivery()) as task:
        assert await task == "had a turn"


async def test_refuses_a_turn_to_a_delivery_that_has_gone_back() -> None:
    one, gone = pacer(), delivery()
    one.report(OFFLINE, "offline")
    async with waiting(one, gone) as task:
        gone.receipt.lost = True
        one.wake()
        with pytest.raises(Unavailable):
            await task


async def test_holds_a_delivery_for_a_breath_and_until_work_may_go_on() -> None:
    clock = Clock()
    one = TurnPacer(0, clock)
    one.report(OFFLINE, "offline")
    held = asyncio.create_task(one.hold(delivery()))
    await settled()
    one.report(OFFLINE, None)
    await settled()
    assert not held.done()
    clock.now += 1.0
    one.wake()
    assert await held is True


async def test_tells_when_it_has_been_paused_for_long_without_a_break() -> None:
    clock = Clock()
    one = TurnPacer(0, clock)
    long = asyncio.create_task(one.closed(300))
    await settled()
    for seconds in (200.0, 200.0):  # Two pauses: neither is long enough.
        one.report(OFFLINE, "offline")
        await settled()
        clock.now += seconds
        one.report(OFFLINE, None)
        await settled()
    assert not long.done()
    one.report(OFFLINE, "offline")
    await settled()
    clock.now += 301
    one.wake()
    await long


async def test_tells_when_work_may_go_on_again() -> None:
    one = pacer()
    await one.opened()
    one.report(OFFLINE, "offline")
    opened = asyncio.create_task(one.opened())
    await settled()
    assert not opened.done()
    one.report(OFFLINE, None)
    await opened


def record(outcome: Outcome, destination: str) -> Record:
    envelope = WhatsAppEnvelope.model_validate(
        {"user_id": str(UUID(int=1)), "text_message": "hello", "destination": destination}
    )
    return Record(delivery(), outcome, 0.1, envelope)


def throttled() -> Retry:
    return Retry(Job("k"), Throttled(ErrorType.THROTTLED, "429"), 1, 5.0, 5.0)


def numbers(count: int) -> list[str]:
    return [f"+551199999{n:04}" for n in range(count)]


async def test_pauses_when_three_different_recipients_in_a_row_were_throttled() -> None:
    clock = Clock()
    one = TurnPacer(0, clock)
    for number in numbers(3):
        assert one.paused == {}
        one.observe(record(throttled(), number))
    assert set(one.paused) == {PauseReason.THROTTLED}
    clock.now += FIRST_THROTTLE_PAUSE
    assert one.paused == {}


async def test_does_not_pause_for_one_recipient_or_for_other_failures() -> None:
    one = pacer()
    failed = Retry(Job("k"), Transient(ErrorType.NETWORK, "no"), 1, 5.0, 5.0)
    for number in numbers(5):
        one.observe(record(throttled(), numbers(1)[0]))
        one.observe(record(failed, number))
    assert one.paused == {}


async def test_pauses_longer_each_time_until_a_send_succeeds() -> None:
    clock = Clock()
    one = TurnPacer(0, clock)
    pauses = []
    for number in numbers(12):
        one.observe(record(throttled(), number))
        if one.paused:
            start = clock.now
            while one.paused:
                clock.now += FIRST_THROTTLE_PAUSE
            pauses.append(clock.now - start)
    assert pauses[:3] == [60.0, 120.0, 240.0]
    assert max(pauses) == LONGEST_THROTTLE_PAUSE
    one.observe(record(Sent(Job("k"), "wa1"), numbers(1)[0]))
    for number in numbers(3):
        assert one.paused == {}
        one.observe(record(throttled(), number))
    clock.now += FIRST_THROTTLE_PAUSE
    assert one.paused == {}
