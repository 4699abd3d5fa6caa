"""The sockets of the server: websockets of clients and the media host, on one TLS port."""

import ssl
from collections.abc import Callable
from functools import partial
from typing import Self

from aiohttp import web

from tests.whatsapp_server.binary_xml import Codec
from tests.whatsapp_server.connection import Connection, Hangup
from tests.whatsapp_server.media import MediaHost
from tests.whatsapp_server.reception import Reception
from tests.whatsapp_server.world import World

LARGEST_UPLOAD = 1 << 27
CLOSE_SECONDS = 1.0
"""How long a client may take to answer a close."""


class Endpoint:
    """Listens on 127.0.0.1 while its context lasts.

    Args:
        reset: resets the TCP connection that comes from this port.

    Attributes:
        connections: the open ones.
        failures: what went wrong while they were served, for the test to see.
    """

    def __init__(
        self,
        world: World,
        reception: Reception,
        media: MediaHost,
        *,
        codec: Codec,
        tls: ssl.SSLContext,
        reset: Callable[[int], None],
    ) -> None:
        self.connections: set[Connection] = set()
        self.failures: list[Exception] = []
        self._world, self._reception = world, reception
        self._codec, self._tls, self._reset = codec, tls, reset
        app = web.Application(client_max_size=LARGEST_UPLOAD)
        app.add_routes([web.get("/ws/chat", self._chat), *media.routes()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._runner.addresses[0][1])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if effect := self._world.rules.on_upgrade():
            return web.Response(status=effect.status)
        socket = web.WebSocketResponse(compress=False, timeout=CLOSE_SECONDS)
        await socket.prepare(request)
        assert request.transport is not None
        connection = Connection(
            socket,
            partial(self._reset, request.transport.get_extra_info("peername")[1]),
            codec=self._codec,
            rules=self._world.rules,
            journal=self._world.journal,
        )
        self.connections.add(connection)
        try:
            await self._reception.welcome(connection)
        except Hangup:
            pass  # It left before it had said anything.
        except Exception as error:  # noqa: BLE001  Raised again when the test leaves the server.
            self.failures.append(error)
        finally:
            self.connections.discard(connection)
        return socket
