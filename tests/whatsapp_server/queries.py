"""Answers what clients ask (`iq`): who is on which devices, keys, the media host, are you there."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.whatsapp_server.connection import Connection, Hangup
from tests.whatsapp_server.pairing import LINK_CODE, Pairing
from tests.whatsapp_server.people import Device
from tests.whatsapp_server.rules import Delay, ErrorReply, Query, Silence
from tests.whatsapp_server.signal_protocol import Bundle, PreKey
from tests.whatsapp_server.signal_wire import KEY_TYPE
from tests.whatsapp_server.stanza import JID, SERVER, Node
from tests.whatsapp_server.world import MEDIA_HOST, World

FEW_PREKEYS = 1
"""What a new device is told it has on the server: then it makes 50 prekeys, in 0.2 s.  Told the
truth (0), it would make 812, in 7.6 s on a disk (measured)."""

MEDIA_SECONDS = 3600

KINDS: dict[tuple[str, str | None], Query] = {
    ("usync", None): Query.USYNC,
    ("encrypt", "count"): Query.PREKEY_COUNT,
    ("encrypt", "list"): Query.PREKEY_UPLOAD,
    ("encrypt", "key"): Query.PREKEYS,
    ("w:m", None): Query.MEDIA_CONN,
    ("w:p", None): Query.KEEPALIVE,
    ("passive", "active"): Query.ACTIVE,
    ("md", LINK_CODE): Query.LINK_CODE,
    ("md", "remove-companion-device"): Query.LOGOUT,
}
"""A question by its namespace and by what it contains; None is anything."""


class Queries:
    """Answers the questions of all clients."""

    def __init__(self, world: World, pairing: Pairing) -> None:
        self._world, self._pairing = world, pairing
        self._answers: dict[Query, Callable[[Connection, Node], Iterable[Node]]] = {
            Query.USYNC: lambda _, ask: [self._usync(ask.need("usync"))],
            Query.PREKEYS: lambda _, ask: [self._bundles(ask.need("key"))],
            Query.PREKEY_COUNT: lambda connection, _: [_count(_device(connection))],
            Query.PREKEY_UPLOAD: lambda connection, ask: _upload(_device(connection), ask),
            Query.LOGOUT: lambda connection, _: _log_out(_device(connection)),
            Query.MEDIA_CONN: lambda _, __: [_media_connection()],
            Query.LINK_CODE: lambda connection, ask: pairing.link_code(
                connection, ask.need(LINK_CODE)
            ),
        }

    def handle(self, connection: Connection, ask: Node) -> None:
        """Answer a question, as the rules want it; or take an answer to a question of ours."""
        if ask.attrs.get("type") in ("result", "error"):
            self._pairing.answered(connection, ask)
            return
        query = kind_of(ask)
        effect = self._world.rules.on_query(query)
        if isinstance(effect, Silence):
            return
        if isinstance(effect, ErrorReply):
            error = Node("error", {"code": effect.code, "text": effect.text})
            connection.send(_reply(ask, "error", [error]))
            return
        answer = self._answers.get(query, _nothing)
        reply = _reply(ask, "result", answer(connection, ask))
        if isinstance(effect, Delay):
            connection.send_later(effect.seconds, reply)
        else:
            connection.send(reply)
        if query is Query.ACTIVE:
            _send_waiting(connection)

    def _usync(self, ask: Node) -> Node:
        """What is known about each person asked for, by number or by address."""
        wanted = {child.tag for child in ask.need("query").children}
        users = [self._user(user, wanted) for user in ask.need("list").children]
        return Node("usync", ask.attrs, [Node("result"), Node("list", {}, users)])

    def _user(self, ask: Node, wanted: set[str]) -> Node:
        by_number = ask.get("contact")
        asked = _number(by_number) if by_number else ask.jid("jid").bare
        person = self._world.people.by_jid(asked)
        if person is None or not person.registered:
            unknown = [Node("contact", {"type": "out"}, asked.user)] if by_number else []
            return Node("user", {"jid": asked}, unknown)
        numbers = self._world.people.device_numbers(person)
        known = {
            "contact": Node("contact", {"type": "in"}, asked.user),
            "lid": Node("lid", {"val": person.lid}),
            "devices": Node("devices", {}, [_device_list(numbers)]),
        }
        attrs = {"jid": person.lid, "pn_jid": person.jid} if by_number else {"jid": asked}
        return Node("user", attrs, [node for tag, node in known.items() if tag in wanted])

    def _bundles(self, ask: Node) -> Node:
        return Node("list", {}, [self._bundle(user.jid("jid")) for user in ask.children])

    def _bundle(self, asked: JID) -> Node:
        person = self._world.people.by_jid(asked.bare)
        bundle = None if person is None else self._world.people.bundle(person, asked.device)
        if bundle is None:
            error = Node("error", {"code": 404, "text": "item-not-found"})
            return Node("user", {"jid": asked}, [error])
        return Node("user", {"jid": asked, "t": int(time.time())}, bundle_nodes(bundle))


def kind_of(ask: Node) -> Query:
    """Which question a stanza asks."""
    space = ask.attrs.get("xmlns")
    tags = {None, *(child.tag for child in ask.children)}
    known = (query for (xmlns, tag), query in KINDS.items() if xmlns == space and tag in tags)
    return next(known, Query.OTHER)


def bundle_nodes(bundle: Bundle) -> list[Node]:
    """A device's keys as stanzas carry them."""
    nodes = [
        Node("registration", {}, bundle.registration_id.to_bytes(4, "big")),
        Node("type", {}, KEY_TYPE),
        Node("identity", {}, bundle.identity),
        _key_node("skey", bundle.signed, Node("signature", {}, bundle.signature)),
    ]
    return nodes + ([_key_node("key", bundle.one_time)] if bundle.one_time else [])


def _key_node(tag: str, key: PreKey, *more: Node) -> Node:
    number = Node("id", {}, key.id.to_bytes(3, "big"))
    return Node(tag, {}, [number, Node("value", {}, key.public), *more])


def _key(node: Node) -> PreKey:
    return PreKey(int.from_bytes(node.need("id").data, "big"), node.need("value").data)


def _number(contact: Node) -> JID:
    """Clients write "+15551110001", or an address."""
    return JID(contact.data.decode().partition("@")[0].lstrip("+"))


def _device_list(numbers: Iterable[int]) -> Node:
    return Node("device-list", {}, [Node("device", {"id": number}) for number in numbers])


def _nothing(_: Connection, __: Node) -> list[Node]:
    return []


def _media_connection() -> Node:
    return Node(
        "media_conn",
        {"auth": "test", "ttl": MEDIA_SECONDS, "auth_ttl": MEDIA_SECONDS, "max_buckets": 12},
        [Node("host", {"hostname": MEDIA_HOST})],
    )


def _count(device: Device) -> Node:
    return Node("count", {"value": len(device.prekeys) or FEW_PREKEYS})


def _upload(device: Device, ask: Node) -> list[Node]:
    device.prekeys += [_key(node) for node in ask.need("list").children]
    signed = ask.need("skey")
    device.keys = replace(device.keys, signed=_key(signed), signature=signed.need("signature").data)
    return []


def _log_out(device: Device) -> list[Node]:
    device.account.devices.remove(device)
    return []


def _send_waiting(connection: Connection) -> None:
    """What came while the client was away, and what it did not confirm."""
    device = _device(connection)
    for number, node in enumerate(device.waiting.values()):
        connection.send(Node(node.tag, {**node.attrs, "offline": number}, node.content))
    connection.send(Node("ib", {}, [Node("offline", {"count": len(device.waiting)})]))


def _device(connection: Connection) -> Device:
    if connection.device is None:
        raise Hangup("a client that is not logged in asks as if it were")
    return connection.device


def _reply(ask: Node, kind: str, content: Iterable[Node]) -> Node:
    inside = tuple(content) or None
    return Node("iq", {"from": SERVER, "id": ask.text("id"), "type": kind}, inside)
