from typing import Any, cast

import pytest
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from whatsapp_worker.amqp import consumer
from whatsapp_worker.amqp.consumer import ChannelReceipt, Plan, Session
from whatsapp_worker.amqp.proofs import Proofs
from whatsapp_worker.delivery import Delivery

Written = list[tuple[str, int, bool]]


class Channel:
    """Stands for an aiormq channel; broken, it raises what aiormq raises."""

    is_closed = False

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.written: Written = []
        self.broken = False

    async def basic_ack(self, tag: int, wait: bool) -> None:
        self._write("ack", tag, False)

    async def basic_nack(self, tag: int, requeue: bool, wait: bool) -> None:
        self._write("nack", tag, requeue)

    def _write(self, kind: str, tag: int, requeue: bool) -> None:
        if self.broken:
            raise ChannelInvalidStateError("closed")
        self.written.append((kind, tag, requeue))


class Rig:
    """A session on a channel that is none."""

    def __init__(self) -> None:
        self.channel: Any = Channel()
        self.delivered: list[Delivery] = []
        plan = Plan("whatsapp.queue", 1, 6, exclusive=False)
        channel = cast(AbstractChannel, self.channel)
        connection = cast(AbstractConnection, None)  # Its end is not looked at here.
        self.session = Session(connection, channel, plan, Proofs(), self.delivered.append)

    async def arrives(self, tag: int) -> ChannelReceipt:
        header = ContentHeader(body_size=1, properties=Basic.Properties())
        message = DeliveredMessage(
            Basic.Deliver("c", tag, False, "", "q"), header, b"x", self.channel
        )
        await self.session._on_message(message)
        receipt = self.delivered[-1].receipt
        assert isinstance(receipt, ChannelReceipt)
        return receipt


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_each_way_to_settle_writes_its_frame_once(rig: Rig) -> None:
    first, second, third = [await rig.arrives(tag) for tag in (1, 2, 3)]
    for _ in range(2):
        await rig.session.ack(first)
        await rig.session.give_back(second)
        await rig.session.reject(third)
    assert rig.channel.written == [("ack", 1, False), ("nack", 2, True), ("nack", 3, False)]
    assert rig.session.idle


async def test_a_dead_channel_is_given_up_and_what_it_held_is_lost(rig: Rig) -> None:
    receipt = await rig.arrives(1)
    rig.channel.broken = True
    await rig.session.ack(receipt)
    assert not rig.session.idle
    assert rig.session._failure.done()
    assert rig.session.abandon() == 1
    assert receipt.lost
    assert rig.session.abandon() == 0


async def test_a_lost_receipt_is_settled_by_nobody(rig: Rig) -> None:
    receipt = await rig.arrives(1)
    rig.session.abandon()
    await rig.session.ack(receipt)
    await rig.session.give_back(receipt)
    await rig.session.reject(receipt)
    assert rig.channel.written == []


async def test_what_arrives_after_the_end_is_left_to_come_again(rig: Rig) -> None:
    await rig.arrives(1)
    rig.session.abandon()
    rig.delivered.clear()
    with pytest.raises(IndexError):
        await rig.arrives(2)


async def test_a_bug_in_reading_dead_letters_the_message_instead_of_holding_up_the_queue(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Delivery:
        raise KeyError("bug")

    monkeypatch.setattr(consumer, "delivery_of", fail)
    await rig.arrives(1)
    assert rig.delivered[0].repaired == ("headers",)
    assert "a bug in reading" in caplog.text


async def test_a_consumer_cancelled_by_the_broker_gives_the_session_up(rig: Rig) -> None:
    (told,) = rig.channel.on_consumer_cancel_callbacks
    told(Basic.Cancel("c"))
    told(Basic.Cancel("c"))
    assert "cancelled our consumer" in rig.session._failure.result()
