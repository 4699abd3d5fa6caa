"""Receives every client: handshake, then pairing or login, then each stanza to who answers it."""

import time
from functools import partial

from tests.whatsapp_server.connection import Connection, Greeting, Identity
from tests.whatsapp_server.messages import Messages
from tests.whatsapp_server.pairing import Pairing
from tests.whatsapp_server.people import Device
from tests.whatsapp_server.queries import Queries
from tests.whatsapp_server.rules import Fail, Silence
from tests.whatsapp_server.stanza import JID, Node
from tests.whatsapp_server.world import World

LOGGED_OUT = Fail(401)
REPLACED = Node("stream:error", {}, [Node("conflict", {"type": "replaced"})])
"""What the older of two connections with the same login is told."""


class Reception:
    """The server behind the sockets.

    Attributes:
        pairing, messages: where phones and people come in.
    """

    def __init__(self, world: World, identity: Identity) -> None:
        self._world, self._identity = world, identity
        self.pairing = Pairing(world)
        self.messages = Messages(world)
        self._queries = Queries(world, self.pairing)

    async def welcome(self, connection: Connection) -> None:
        """Serve a client until it is gone.

        Raises:
            Hangup: it left during the handshake.
        """
        greeting = await connection.shake_hands(self._identity)
        try:
            if greeting.payload.HasField("devicePairingData"):
                self.pairing.begin(connection, greeting)
            else:
                self._log_in(connection, greeting)
            await connection.serve(partial(self._handle, connection))
        finally:
            self.pairing.left(connection)

    def _log_in(self, connection: Connection, greeting: Greeting) -> None:
        effect = self._world.rules.on_login()
        if isinstance(effect, Silence):
            return
        device = self._linked(greeting)
        if effect or not device:
            _refuse(connection, effect or LOGGED_OUT)
            return
        if device.line is not None:
            device.line.send(REPLACED)
            device.line.hang_up()
        device.line, connection.device = connection, device
        now = int(time.time())
        connection.send(Node("success", {"t": now, "lid": device.lid, "location": "test"}))

    def _linked(self, greeting: Greeting) -> Device | None:
        """Whom a client says to be, if it logs in with the key of that device."""
        said = greeting.payload
        person = self._world.people.by_jid(JID(str(said.username)))
        device = person and self._world.people.linked_device(person, said.device)
        return device if device and device.noise_key == greeting.noise_key else None

    def _handle(self, connection: Connection, node: Node) -> None:
        match node.tag, connection.device:
            case "iq", _:
                self._queries.handle(connection, node)
            case "message", Device() as device:
                self.messages.sent(connection, device, node)
            case "receipt", Device() as device:
                self.messages.received(device, node)
            case "ack", Device() as device:
                device.confirmed(node)
            case _:
                pass  # Presence and the like: the journal has it.


def _refuse(connection: Connection, why: Fail) -> None:
    attrs = {"reason": why.reason, "code": why.code, "expire": why.expire, "location": "test"}
    connection.send(Node("failure", attrs))
    connection.hang_up()
