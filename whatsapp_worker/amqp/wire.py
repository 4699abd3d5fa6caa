"""The bytes of one connection: deliveries are taken off, and settlements put on, the shortest way.

aiormq spends two tasks, three queues and a dozen objects on each delivery, as much processor time
as this worker spends on all the rest (benchmarks/NOTES.md).  So what comes and goes by the thousand
passes it by: frames are told apart as their bytes arrive, what is delivered to the channel that we
listen to is read here, and all else (opening, asking, heartbeats, closing) stays aiormq's.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from whatsapp_worker.amqp import tolerant
from whatsapp_worker.amqp.incoming import Arrival

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
"""Kinds of frames (AMQP 0-9-1, section 4.2.3 and its constants)."""
FRAME_END = 0xCE

_FRAME = struct.Struct(">BHL")
"""What a frame begins with: kind, channel, and how many bytes lie between this and its end."""
_DELIVER = struct.pack(">HH", 60, 60)
_CLOSE = struct.pack(">HH", 20, 40)
"""Class and method that a method frame begins with."""
_SETTLEMENT = struct.Struct(">BHLHHQBB")
_SETTLEMENT_SIZE = 13
_ACK, _NACK = 80, 120
_REQUEUE = 2

MOST_TOGETHER = 10
"""Settlements that may wait for each other, as may half of what is held: RabbitMQ has to get to
work on the next deliveries while we still log these (benchmarks/NOTES.md)."""

A_HEARTBEAT = _FRAME.pack(HEARTBEAT, 0, 0) + bytes([FRAME_END])
HEARTBEAT_SECONDS = 1.0
"""Deliveries that come without anything else are told to aiormq this often, as a heartbeat: it
gives up a connection on which it hears nothing, and RabbitMQ sends none while it sends messages."""


class Wire(TransportFactory):
    """Opens a connection's transport for aiormq, and listens in on it.

    One can be used for several connections, one after the other.
    """

    def __init__(self) -> None:
        self._tap: Tap | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._together = 1

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See aiormq's TransportFactory; raises AMQPConnectionError."""
        if self._tap is not None:
            self._tap.close()
        self._tap, self._transport, self._unsent = None, None, []
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        secure = url.scheme == "amqps"
        context = await kwargs["ssl_context_provider"].get_context() if secure else None
        try:
            transport, protocol = await loop.create_connection(
                lambda: Frames(reader, self.takes), str(url.host), url.port or 0, ssl=context
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._transport = transport
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def listen(self, channel: int, prefetch: int, take: Callable[[Arrival], None]) -> "Tap":
        """Hand every delivery on a channel to `take`, which must not raise, from now on."""
        self._tap = Tap(self, channel, take)
        self._together = max(1, min(prefetch // 2, MOST_TOGETHER))
        return self._tap

    def takes(self, kind: int, channel: int, payload: bytes) -> bool:
        """Use a frame that came; False says that it is aiormq's."""
        tap = self._tap
        return tap is not None and tap.channel == channel and tap.takes(kind, payload)

    def write(self, frame: bytes) -> None:
        """Send a frame, together with others of this turn of the event loop.

        Raises:
            ConnectionResetError: there is no connection any more.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        self._unsent.append(frame)
        if len(self._unsent) >= self._together:
            self.flush()
        elif len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what was written in this turn of the event loop."""
        if self._unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent = []


class Tap:
    """Deliveries and settlements on one channel.

    Args:
        wire: the connection's.
        channel: its number.
        take: is handed each delivery.
    """

    def __init__(self, wire: Wire, channel: int, take: Callable[[Arrival], None]) -> None:
        self.channel = channel
        self._wire = wire
        self._take = take
        self._closed = False
        self._announced = b""
        self._properties = b""
        self._missing = 0
        self._parts: list[bytes] = []

    # Out ----------------------------------------------------------------------------------------

    def ack(self, tag: int) -> None:
        """Settle a delivery: done with.  Raises ConnectionResetError."""
        self._settle(_ACK, tag, 0)

    def requeue(self, tag: int) -> None:
        """Settle a delivery by nack: back to its place.  Raises ConnectionResetError."""
        self._settle(_NACK, tag, _REQUEUE)

    def reject(self, tag: int) -> None:
        """Settle a delivery by nack: to where its queue dead-letters.  Raises as `ack` does."""
        self._settle(_NACK, tag, 0)

    def close(self) -> None:
        """Settle nothing any more: on the next connection the same tags are other deliveries."""
        self._closed = True

    def _settle(self, method: int, tag: int, flags: int) -> None:
        if self._closed:
            raise ConnectionResetError("the channel was closed")
        self._wire.write(
            _SETTLEMENT.pack(
                METHOD, self.channel, _SETTLEMENT_SIZE, 60, method, tag, flags, FRAME_END
            )
        )

    # In -----------------------------------------------------------------------------------------

    def takes(self, kind: int, payload: bytes) -> bool:
        """See `Wire.takes`."""
        if kind == METHOD:
            if payload.startswith(_DELIVER):
                self._announced = payload
                return True
            self._closed = self._closed or payload.startswith(_CLOSE)
            return False
        if not self._announced:
            return False  # Content of something else that aiormq asked for.
        if kind == HEADER:
            self._missing = int.from_bytes(payload[4:12], "big")
            self._properties = payload[12:]
        else:
            self._missing -= len(payload)
            self._parts.append(payload)
        if self._missing <= 0:
            arrival = _arrival(self._announced, self._properties, b"".join(self._parts))
            self._announced = b""
            self._parts.clear()
            self._take(arrival)
        return True


def _arrival(deliver: bytes, properties: bytes, body: bytes) -> Arrival:
    """Put a delivery together: Basic.Deliver, the properties of its header, and its body."""
    at = 5 + deliver[4]  # Behind class, method and the consumer's name.
    exchange = deliver[at + 10 : at + 10 + deliver[at + 9]]
    return Arrival(
        tag=int.from_bytes(deliver[at : at + 8], "big"),
        redelivered=bool(deliver[at + 8] & 1),
        exchange=exchange.decode("utf-8", "backslashreplace"),
        properties=tolerant.read(properties),
        body=body,
    )


class Frames(asyncio.StreamReaderProtocol):
    """Cuts what arrives into frames, and leaves to aiormq what nobody takes.

    Args:
        reader: aiormq's.
        takes: is asked about every frame: kind, channel and payload.
    """

    def __init__(
        self, reader: asyncio.StreamReader, takes: Callable[[int, int, bytes], bool]
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(reader, loop=loop)
        self._takes = takes
        self._clock = loop.time
        self._told = 0.0
        self._rest = b""
        self._is_amqp = True

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        left, taken = self._cut(self._rest + data) if self._is_amqp else ([data], False)
        if left:
            super().data_received(b"".join(left))
        elif taken and self._clock() >= self._told + HEARTBEAT_SECONDS:
            self._told = self._clock()
            super().data_received(A_HEARTBEAT)

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol; aiormq is to see that a frame has no end."""
        if self._rest:
            super().data_received(self._rest)
        return super().eof_received()

    def _cut(self, data: bytes) -> tuple[list[bytes], bool]:
        """Have whole frames taken, and keep what is not whole.

        Returns:
            What nobody takes, and whether anything was taken.
        """
        left, taken = [], False
        at, last = 0, len(data) - 1
        while at + _FRAME.size <= last:
            kind, channel, size = _FRAME.unpack_from(data, at)
            start = at + _FRAME.size
            end = start + size
            if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
                self._is_amqp = False  # Another protocol, or another version: aiormq says which.
                end = last
            if end > last:
                break
            if data[end] == FRAME_END and self._takes(kind, channel, data[start:end]):
                taken = True
            else:
                left.append(data[at : end + 1])
            at = end + 1
        self._rest = data[at:]
        return left, taken
