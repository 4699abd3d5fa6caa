"""One websocket of a client: frames, handshake, and stanzas in both directions."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from tests.whatsapp_server.binary_xml import Codec
from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.installed import wa6
from tests.whatsapp_server.journal import Journal
from tests.whatsapp_server.noise import Responder, Transport, certificate_chain
from tests.whatsapp_server.people import Device
from tests.whatsapp_server.rulebook import Rulebook
from tests.whatsapp_server.stanza import Node

PROLOGUE = b"WA\x06\x03"
"""What a client says first: protocol 6, version 3 of the token dictionaries (measured)."""

LENGTH_BYTES = 3
"""Before each frame, big-endian (measured)."""

GRACE_SECONDS = 0.1
"""Between the last stanza and the close: whatsmeow loses one in twenty that are closely followed by
a close, none at 20 ms (measured)."""


class Hangup(Exception):
    """The client is gone, or says what no client says."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is during handshakes.

    Attributes:
        static: its Noise key.
        chain: certificates for it, up to the root that clients trust.
    """

    static: KeyPair
    chain: bytes

    @classmethod
    def certified_by(cls, root: KeyPair) -> "Identity":
        """A new identity."""
        static = KeyPair()
        return cls(static, certificate_chain(root, static.public))


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a client says of itself.

    Attributes:
        noise_key: its static public key.
        payload: a `ClientPayload` protobuf.
    """

    noise_key: bytes
    payload: Any  # The generated protobuf classes are untyped.


class Connection:
    """One websocket.

    Args:
        socket: accepted, so that it can be read.
        reset: resets the TCP connection under it.
        rules: freeze and round trip time.

    Attributes:
        device: who logged in here, once somebody did.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        reset: Callable[[], None],
        *,
        codec: Codec,
        rules: Rulebook,
        journal: Journal,
    ) -> None:
        self.device: Device | None = None
        self._socket, self._reset = socket, reset
        self._codec, self._rules, self._journal = codec, rules, journal
        self._received = b""
        self._ended = self._leaving = False
        self._due: asyncio.Queue[tuple[float, Node | None]] = asyncio.Queue()
        self._transport: Transport | None = None

    async def shake_hands(self, identity: Identity) -> Greeting:
        """Do the Noise handshake.

        Raises:
            Hangup: the client left, or is no WhatsApp client.
            NotAuthentic: the client got a key wrong.
        """
        self._received = await self._read()
        if not self._received.startswith(PROLOGUE):
            raise Hangup("this is no WhatsApp client of the known version")
        self._received = self._received.removeprefix(PROLOGUE)
        responder = Responder(identity.static, PROLOGUE)
        hello = wa6.HandshakeMessage.FromString(await self._frame()).clientHello
        responder.read_hello(hello.ephemeral)
        if self._rules.on_handshake() is not None:
            while True:  # Until the client gives up.
                await self._read()
        answer = responder.write_hello(identity.chain)
        parts = {
            "ephemeral": answer.ephemeral,
            "static": answer.static,
            "payload": answer.payload,
        }
        await self._write(wa6.HandshakeMessage(serverHello=parts).SerializeToString())
        finish = wa6.HandshakeMessage.FromString(await self._frame()).clientFinish
        finished = responder.read_finish(finish.static, finish.payload)
        self._transport = finished.transport
        return Greeting(finished.client_static, wa6.ClientPayload.FromString(finished.payload))

    async def serve(self, handle: Callable[[Node], None]) -> None:
        """Read stanzas until the client is gone, and send what is due meanwhile.

        Args:
            handle: told each stanza; it answers by `send` and never waits, so that one late
                answer keeps no other stanza waiting.
        """
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write_due())
            try:
                await self._read_all(handle)
            finally:
                self._end()
                writing.cancel()

    def send(self, node: Node) -> None:
        """Send a stanza, a round trip later; nothing once the connection has ended."""
        self._put(node)

    def send_later(self, seconds: float, node: Node) -> None:
        """Send a stanza so many seconds later; others may overtake it."""
        asyncio.get_running_loop().call_later(seconds, self._put, node)

    def hang_up(self) -> None:
        """Send what is due, then close after a grace; what comes in meanwhile is ignored."""
        self._put(None)
        self._leaving = True

    def reset(self) -> None:
        """Reset the TCP connection; what was not sent never will be."""
        self._end()
        self._reset()

    def _end(self) -> None:
        self._ended = True
        if self.device is not None and self.device.line is self:
            self.device.line = None

    def _put(self, node: Node | None) -> None:
        if not self._ended:
            now = asyncio.get_running_loop().time()
            self._due.put_nowait((now + self._rules.round_trip, node))

    async def _read_all(self, handle: Callable[[Node], None]) -> None:
        assert self._transport is not None
        while True:
            try:
                frame = await self._frame()
            except Hangup:
                return
            node = self._codec.decode(self._transport.decrypt(frame))
            self._journal.heard(node)
            await self._rules.thawed()
            if not self._leaving:
                handle(node)

    async def _write_due(self) -> None:
        assert self._transport is not None
        while True:
            due, node = await self._due.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if node is None:
                await asyncio.sleep(GRACE_SECONDS)
                await self._socket.close()
                return
            self._journal.said(node)
            await self._write(self._transport.encrypt(self._codec.encode(node)))

    async def _write(self, frame: bytes) -> None:
        try:
            await self._socket.send_bytes(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        except ConnectionError:
            self._end()  # The reader notices too, and ends everything.

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self._take(LENGTH_BYTES), "big")
        return await self._take(size)

    async def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += await self._read()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    async def _read(self) -> bytes:
        message = await self._socket.receive()
        if message.type is not WSMsgType.BINARY:
            raise Hangup("the client is gone")
        return bytes(message.data)
