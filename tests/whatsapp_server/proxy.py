"""The only way out of a client: a CONNECT proxy that leads to our server and records every dial.

Bytes go from transport to transport without a task in between, because all traffic of a throughput
test passes here.
"""

import asyncio
import socket
import struct
from asyncio import BaseTransport, Protocol, Server, Task, Transport
from collections.abc import Callable
from typing import Self, cast

from tests.whatsapp_server.rules import Answer, Refuse

FORBIDDEN = Answer(403)
LONGEST_HEAD = 16384
LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends a reset instead of an end (socket(7))."""


class Proxy:
    """Listens on 127.0.0.1 while its context lasts.

    Args:
        lead: told the target of every dial ("host:port", or the whole request line of what is no
            CONNECT); says to which port of 127.0.0.1 it leads, or what it gets instead.

    Attributes:
        dialled: every target, in order.
    """

    def __init__(self, lead: Callable[[str], int | Answer | Refuse]) -> None:
        self.dialled: list[str] = []
        self._lead = lead
        self._listener: Server | None = None
        self._clients: set[Transport] = set()
        self._tunnels: dict[int, Transport] = {}
        self._connecting: set[Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Caller(self), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.reset_all()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        await self._listener.wait_closed()

    @property
    def url(self) -> str:
        """Its address, for a client's settings."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def reset(self, port: int) -> None:
        """Reset the connection of a client, as a middlebox that lost its state does.

        Args:
            port: from which its tunnel comes, as the server sees it.
        """
        if client := self._tunnels.get(port):
            reset(client)

    def reset_all(self) -> None:
        """Reset the connections of all clients."""
        for client in list(self._clients):
            reset(client)

    def entered(self, client: Transport) -> None:
        """A client is there."""
        self._clients.add(client)

    def left(self, client: Transport) -> None:
        """A client is gone."""
        self._clients.discard(client)
        for port in [port for port, known in self._tunnels.items() if known is client]:
            del self._tunnels[port]

    def called(self, client: Transport, head: bytes) -> None:
        """A client said where it wants to go."""
        line = head.split(b"\r\n", 1)[0].decode("ascii", "replace")
        method, _, rest = line.partition(" ")
        target = rest.partition(" ")[0] if method == "CONNECT" else line
        self.dialled.append(target)
        match self._lead(target):
            case Refuse():
                reset(client)
            case Answer(status):
                client.write(b"HTTP/1.1 %d test\r\nContent-Length: 0\r\n\r\n" % status)
                client.close()
            case port:
                task = asyncio.get_running_loop().create_task(self._connect(client, port))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: Transport, port: int) -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_connection(lambda: _End(self, client), "127.0.0.1", port)
        if client.is_closing():
            server.abort()
            return
        self._tunnels[server.get_extra_info("sockname")[1]] = client
        client.set_protocol(_End(self, server, client))
        client.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        client.resume_reading()


def reset(transport: Transport) -> None:
    """Close with a TCP reset."""
    connection = transport.get_extra_info("socket")
    if not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    transport.abort()


class _Caller(Protocol):
    """A client that has not yet said where it wants to go."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._head = b""

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._proxy.entered(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if len(self._head) > LONGEST_HEAD:
            self._transport.abort()
        elif b"\r\n\r\n" in self._head:
            self._transport.pause_reading()  # Until there is a tunnel; clients wait for our word.
            self._proxy.called(self._transport, self._head)

    def connection_lost(self, _: Exception | None) -> None:
        self._proxy.left(self._transport)


class _End(Protocol):
    """One end of a tunnel: what it hears, it passes on to the other end."""

    def __init__(self, proxy: Proxy, other: Transport, transport: Transport | None = None) -> None:
        self._proxy, self._other, self._transport = proxy, other, transport

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def pause_writing(self) -> None:
        self._other.pause_reading()

    def resume_writing(self) -> None:
        self._other.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._other.close()
        else:
            self._other.abort()
        if self._transport is not None:
            self._proxy.left(self._transport)
