"""Publishing copies, without a connection."""

import asyncio

import pytest
from pamqp.commands import Basic

from whatsapp_worker.amqp import publisher
from whatsapp_worker.amqp.publisher import Publisher
from whatsapp_worker.errors import PauseReason, Unavailable
from whatsapp_worker.settings import Settings


@pytest.fixture
def lonely() -> Publisher:
    """One that never finds RabbitMQ."""
    return Publisher(Settings(), "test", lambda *_: None)


async def publish(lonely: Publisher) -> None:
    await lonely.publish("somewhere", b"", Basic.Properties())


async def test_who_waits_for_a_confirm_gives_up_soon_once_the_worker_stops(
    lonely: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "HURRY_SECONDS", 0.01)
    waiting = [asyncio.create_task(publish(lonely)) for _ in range(2)]
    await asyncio.sleep(0)
    lonely.hurry()
    async with asyncio.timeout(1):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable, Unavailable]


async def test_a_worker_that_stops_does_not_wait_long_for_a_confirm(
    lonely: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "HURRY_SECONDS", 0.01)
    lonely.hurry()
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable) as refused:
            await publish(lonely)
    assert refused.value.reason is PauseReason.PUBLISHER


async def test_hurry_never_makes_anybody_wait_longer(
    lonely: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PUBLISH_SECONDS", 0.01)
    waiting = asyncio.create_task(publish(lonely))
    await asyncio.sleep(0)
    lonely.hurry()
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable):
            await waiting
