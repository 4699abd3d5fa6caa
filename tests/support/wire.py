"""What RabbitMQ and a client put on the wire, made by pamqp, and a transport that leads nowhere."""

import asyncio
from typing import Any

import pamqp.frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from whatsapp_worker.amqp.wire import Frames, Wire


class FakeTransport(asyncio.Transport):
    """Keeps what is written until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self._closing = False

    def write(self, data: Any) -> None:
        assert not self._closing
        self.written += data
        self.writes += 1

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True


def on(wire: Wire, transport: FakeTransport, reader: asyncio.StreamReader | None = None) -> Frames:
    """Let a wire have a transport, as if `create` had opened it; returns who gets what arrives."""
    wire._transport = transport
    return Frames(reader or asyncio.StreamReader(), wire.takes)


def deliver(
    channel: int,
    tag: int,
    body: bytes,
    *,
    redelivered: bool = False,
    exchange: str = "",
    properties: Basic.Properties | None = None,
    most: int = 131_064,
) -> bytes:
    """The frames of a delivery, its body in pieces of `most` bytes at the most."""
    header = ContentHeader(body_size=len(body), properties=properties or Basic.Properties())
    pieces = [body[at : at + most] for at in range(0, len(body), most)]
    frames: list[pamqp.frame.FrameTypes] = [
        Basic.Deliver("consumer", tag, redelivered, exchange, "key"),
        header,
        *map(ContentBody, pieces),
    ]
    return b"".join(pamqp.frame.marshal(each, channel) for each in frames)


def ack(channel: int, tag: int) -> bytes:
    """The frame that settles a delivery: done."""
    return pamqp.frame.marshal(Basic.Ack(tag), channel)


def nack(channel: int, tag: int, *, requeue: bool) -> bytes:
    """The frame that settles a delivery: not done."""
    return pamqp.frame.marshal(Basic.Nack(tag, requeue=requeue), channel)
