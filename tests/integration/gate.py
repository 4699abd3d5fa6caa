"""A door between the worker and RabbitMQ, which a test opens, shuts and slams."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from whatsapp_worker.demo.login import PROTOCOL_HEADER
from whatsapp_worker.demo.rabbitmq import free_ports


class Way(Enum):
    """What happens to whoever comes."""

    SHUT = auto()  # Nothing listens.
    SLAM = auto()  # The connection is taken, and cut at the first word.
    SILENT = auto()  # The connection is taken, and nothing is ever said.
    OPEN = auto()  # RabbitMQ answers.
    DEAF = auto()  # Whoever is through hears RabbitMQ, and what he says is lost on the way.
    MUTE = auto()  # RabbitMQ hears whoever is through, and what it says is lost on the way.
    HOLE = auto()  # Nothing passes.  It arrives when the way is open again, as TCP sends it anew.
    HOLE_TO_BROKER = auto()  # The same for what the worker says alone.
    HOLE_TO_WORKER = auto()  # The same for what RabbitMQ says alone.


HOLES = frozenset({Way.HOLE, Way.HOLE_TO_BROKER, Way.HOLE_TO_WORKER})
LETS_STAY = frozenset({Way.OPEN, Way.DEAF, Way.MUTE}) | HOLES
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: the kernel answers with RST instead of FIN."""


@dataclass(slots=True)
class Gate:
    """Listens on a port of its own and leads to RabbitMQ's.

    Attributes:
        target: RabbitMQ's port.
        port: its own.
        came: how many connections were taken.
        delay: seconds that every piece of data takes longer, in each direction.
    """

    target: int
    port: int = field(default_factory=lambda: free_ports(1)[0])
    came: int = 0
    delay: float = 0.0
    _way: Way = Way.SHUT
    _server: asyncio.Server | None = None
    _through: set[StreamWriter] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def set(self, way: Way) -> None:
        """Change it; who is through already is thrown out, unless the new way lets him stay."""
        self._way = way
        self._changed.set()
        self._changed = asyncio.Event()
        if way not in LETS_STAY:
            for writer in self._through:
                writer.transport.abort()
        if way is Way.SHUT and self._server:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        if way is not Way.SHUT and not self._server:
            self._server = await asyncio.start_server(self._enter, "127.0.0.1", self.port)

    def reset(self) -> None:
        """Cut every connection with a TCP reset; whoever comes next is led through as before."""
        for writer in list(self._through):
            link: socket.socket = writer.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _enter(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.came += 1
        self._through.add(writer)
        try:
            if self._way is Way.SLAM:
                await reader.readexactly(len(PROTOCOL_HEADER))
            elif self._way is Way.SILENT:
                await reader.read()
            elif self._way is Way.OPEN or self._way in HOLES:
                await self._lead(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # Whoever came has gone.
        finally:
            self._through.discard(writer)
            writer.transport.abort()

    async def _lead(self, reader: StreamReader, writer: StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self.target)
        self._through.add(questions)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, questions, Way.DEAF, Way.HOLE_TO_BROKER))
                tasks.create_task(self._pump(answers, writer, Way.MUTE, Way.HOLE_TO_WORKER))
        finally:
            self._through.discard(questions)
            questions.transport.abort()

    async def _pump(
        self, source: StreamReader, sink: StreamWriter, lost_in: Way, held_in: Way
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await asyncio.sleep(self.delay)
                while self._way in (Way.HOLE, held_in):
                    await self._changed.wait()
                if self._way is not lost_in:
                    sink.write(data)
                    await sink.drain()
        sink.transport.abort()


@asynccontextmanager
async def gate(target: int) -> AsyncIterator[Gate]:
    """A gate, shut at first."""
    door = Gate(target)
    try:
        yield door
    finally:
        await door.set(Way.SHUT)
