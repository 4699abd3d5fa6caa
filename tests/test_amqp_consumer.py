from typing import Any, cast

import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from tests.support.wire import FakeTransport, ack, deliver, nack, on
from whatsapp_worker.amqp import consumer
from whatsapp_worker.amqp.consumer import ChannelReceipt, Plan, Session
from whatsapp_worker.amqp.proofs import Proofs
from whatsapp_worker.amqp.wire import Wire
from whatsapp_worker.delivery import Delivery

CHANNEL = 7


class Channel:
    """Stands for an aiormq channel."""

    is_closed = False
    number = CHANNEL

    def __init__(self) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()


class Rig:
    """A session on a wire that leads nowhere."""

    def __init__(self) -> None:
        self.channel: Any = Channel()
        self.delivered: list[Delivery] = []
        self.transport = FakeTransport()
        wire = Wire()
        self.frames = on(wire, self.transport)
        plan = Plan("whatsapp.queue", 1, 6, exclusive=False)
        channel = cast(AbstractChannel, self.channel)
        connection = cast(AbstractConnection, None)  # Its end is not looked at here.
        self.session = Session(connection, channel, wire, plan, Proofs(), self.delivered.append)
        self._flush = wire.flush

    def arrives(self, tag: int) -> ChannelReceipt:
        self.frames.data_received(deliver(CHANNEL, tag, b"x"))
        receipt = self.delivered[-1].receipt
        assert isinstance(receipt, ChannelReceipt)
        return receipt

    def written(self) -> bytes:
        self._flush()
        return bytes(self.transport.written)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_each_way_to_settle_writes_its_frame_once(rig: Rig) -> None:
    first, second, third = [rig.arrives(tag) for tag in (1, 2, 3)]
    for _ in range(2):
        rig.session.ack(first)
        rig.session.give_back(second)
        rig.session.reject(third)
    expected = ack(CHANNEL, 1) + nack(CHANNEL, 2, requeue=True) + nack(CHANNEL, 3, requeue=False)
    assert rig.written() == expected
    assert rig.session.idle


async def test_a_dead_connection_is_given_up_and_what_it_held_is_lost(rig: Rig) -> None:
    receipt = rig.arrives(1)
    rig.transport.close()
    rig.session.ack(receipt)
    assert not rig.session.idle
    assert "could not be written" in rig.session._failure.result()
    assert rig.session.abandon() == 1
    assert receipt.lost
    assert rig.session.abandon() == 0


async def test_a_lost_receipt_is_settled_by_nobody(rig: Rig) -> None:
    receipt = rig.arrives(1)
    rig.session.abandon()
    rig.session.ack(receipt)
    rig.session.give_back(receipt)
    rig.session.reject(receipt)
    assert rig.written() == b""


async def test_what_arrives_after_the_end_is_left_to_come_again(rig: Rig) -> None:
    rig.arrives(1)
    rig.session.abandon()
    rig.delivered.clear()
    with pytest.raises(IndexError):
        rig.arrives(2)


async def test_a_session_that_is_given_up_takes_nothing_more(rig: Rig) -> None:
    """What it takes would be done twice: its connection is closed, and all of it comes again."""
    rig.arrives(1)
    rig.session.fail("RabbitMQ did not cancel our consumer")
    rig.delivered.clear()
    with pytest.raises(IndexError):
        rig.arrives(2)


async def test_a_bug_in_reading_dead_letters_the_message_instead_of_holding_up_the_queue(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Delivery:
        raise KeyError("bug")

    monkeypatch.setattr(consumer, "delivery_of", fail)
    rig.arrives(1)
    assert rig.delivered[0].repaired == ("headers",)
    assert "a bug in reading" in caplog.text


async def test_a_delivery_that_comes_another_way_gives_the_session_up(rig: Rig) -> None:
    await rig.session._passed_by(cast(Any, None))
    assert "not recognised on the wire" in rig.session._failure.result()


async def test_a_consumer_cancelled_by_the_broker_gives_the_session_up(rig: Rig) -> None:
    (told,) = rig.channel.on_consumer_cancel_callbacks
    told(Basic.Cancel("c"))
    told(Basic.Cancel("c"))
    assert "cancelled our consumer" in rig.session._failure.result()
