from typing import Any, cast

import pytest
from aiormq.abc import AbstractConnection

from tests.support.wire import FakeTransport, ack, deliver, on
from whatsapp_worker.amqp.consumer import ChannelReceipt
from whatsapp_worker.amqp.feed import Feed
from whatsapp_worker.amqp.topology import Found
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.settings import Settings

CHANNEL = 7


class Channel:
    """Stands for an aiormq channel on which RabbitMQ consumes late: it delivers, and says no word.

    Args:
        arrive: has a message arrive.
    """

    is_closed = False
    number = CHANNEL

    def __init__(self, arrive: Any) -> None:
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self._arrive = arrive

    async def basic_qos(self, **_: object) -> None:
        pass

    async def basic_consume(self, *_: object, **__: object) -> None:
        self._arrive(1)
        raise TimeoutError


class Connection:
    """Stands for an aiormq connection with one such channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def channel(self, **_: object) -> Channel:
        return self._channel


async def test_what_came_on_a_channel_that_did_not_answer_is_lost_and_settled_on_no_other() -> None:
    losses: list[None] = []
    taken: list[Delivery] = []
    feed = Feed(Settings(), lambda *_: None, lambda: losses.append(None))
    feed._take = taken.append
    feed._somebody_takes.set()
    transport = FakeTransport()
    frames = on(feed._wire, transport)
    channel = Channel(lambda tag: frames.data_received(deliver(CHANNEL, tag, b"x")))
    connection = cast(AbstractConnection, Connection(channel))
    with pytest.raises(TimeoutError):
        await feed._open(connection, Found(), exclusive=False)
    (delivery,) = taken
    assert delivery.receipt.lost
    assert losses == [None]
    assert not feed.consuming
    frames.data_received(deliver(CHANNEL, 2, b"x"))
    assert len(taken) == 1
    cast(ChannelReceipt, delivery.receipt).session.ack(cast(ChannelReceipt, delivery.receipt))
    feed._wire.flush()
    assert ack(CHANNEL, 1) not in transport.written
