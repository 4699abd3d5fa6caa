"""Messages and receipts: what clients send is read by people, what people write goes to clients."""

import secrets
import time
from collections.abc import Iterator
from typing import Any, TypeAlias, assert_never

from tests.whatsapp_server.connection import Connection
from tests.whatsapp_server.double_ratchet import DuplicateMessage
from tests.whatsapp_server.installed import e2e
from tests.whatsapp_server.people import Account, Contact, Device, Letter
from tests.whatsapp_server.queries import bundle_nodes
from tests.whatsapp_server.rules import (
    AckError,
    DelayAck,
    DropAfter,
    DropBefore,
    LoseAck,
    LoseMessage,
)
from tests.whatsapp_server.signal_wire import Undecipherable
from tests.whatsapp_server.stanza import JID, LID_SERVER, Attribute, Node
from tests.whatsapp_server.world import World

DELIVERED = "delivered"
"""The kind of receipt that has no type on the wire."""

RETRY = "retry"
"""The kind of receipt that says: I cannot decrypt this, encrypt it again."""

Attributes: TypeAlias = dict[str, Attribute | int | None]


class Messages:
    """Carries messages and receipts between clients and people."""

    def __init__(self, world: World) -> None:
        self._world = world

    def sent(self, connection: Connection, sender: Device, message: Node) -> None:
        """A client sends a message: deliver it and acknowledge it, as the rules want it."""
        to = message.jid("to")
        person = self._world.people.by_jid(to.bare)
        effect = self._world.rules.on_message(person.number if person else to.user)
        lost = isinstance(effect, AckError | LoseMessage | DropBefore)
        receipts = [] if lost else self._deliver(sender, message)
        match effect:
            case None:
                connection.send(_ack(message))
            case AckError(code):
                connection.send(_ack(message, code))
            case DelayAck(seconds):
                connection.send_later(seconds, _ack(message))
            case DropBefore() | DropAfter():
                connection.reset()
            case LoseMessage() | LoseAck():
                pass
            case _:
                assert_never(effect)
        for receipt in receipts:
            sender.deliver(receipt)

    def received(self, device: Device, receipt: Node) -> None:
        """A client confirms messages of people, or says that it could not decrypt one."""
        if receipt.attrs.get("type") == RETRY:
            self._note(receipt.text("id"), "the client could not decrypt it")
            return
        items = receipt.get("list")
        for node in (receipt, *(items.children if items else ())):
            device.has_read(node.text("id"))

    def write(self, person: Contact, text: str, account: Account) -> str:
        """A person writes to all devices an account has linked; returns the message's id."""
        message_id = "3EB0" + secrets.token_hex(9).upper()
        content = e2e.Message(conversation=text).SerializeToString()
        attrs: Attributes = {
            "from": person.lid,
            "sender_pn": person.jid,
            "id": message_id,
            "t": int(time.time()),
            "type": "text",
            "notify": person.name or person.number,
        }
        for device in account.devices:
            party, address = person.parties[0], device.lid.signal_address
            if not party.knows(address):
                party.start(address, device.bundle())
            kind, encrypted = party.encrypt(address, content)
            device.deliver(Node("message", attrs, [Node("enc", {"v": 2, "type": kind}, encrypted)]))
        return message_id

    def confirm(self, person: Contact, letter: Letter, kind: str) -> None:
        """A person's device sends a receipt: "delivered", "read", "played", "server-error", ..."""
        letter.sender.deliver(_receipt(person, letter.device, letter.id, kind))

    def ask_again(self, person: Contact, letter: Letter) -> None:
        """A person's device could not decrypt a message and wants it encrypted with fresh keys."""
        receipt = _receipt(person, letter.device, letter.id, RETRY)
        bundle = person.parties[letter.device].bundle()
        registration, *keys = bundle_nodes(bundle)
        retry = Node("retry", {"v": 1, "count": 1, "id": letter.id, "t": int(time.time())})
        content = [retry, registration, Node("keys", {}, keys)]
        letter.sender.deliver(Node(receipt.tag, receipt.attrs, content))

    def _deliver(self, sender: Device, message: Node) -> list[Node]:
        """Let every device read what was encrypted for it; returns their receipts."""
        copies = list(_copies(message))
        self._look_for_gaps(sender, message, [to for to, _ in copies])
        receipts: list[Node] = []
        for to, encrypted in copies:
            person = self._world.people.by_jid(to.bare)
            linked = person and self._world.people.linked_device(person, to.device)
            if linked:
                linked.deliver(_forwarded(sender, message, encrypted))
            elif person and to.device < len(person.parties):
                receipts += self._read(sender, message, person, to.device, encrypted)
            else:
                self._note(message.text("id"), "encrypted for a device that does not exist")
        return receipts

    def _look_for_gaps(self, sender: Device, message: Node, addressed: list[JID]) -> None:
        """A client believes it was sent, though a device of the recipient will never show it."""
        if message.attrs.get("device_fanout") == "false":
            return  # Encrypted again for the one device that asked.
        people = self._world.people
        person = people.by_jid(message.jid("to").bare)
        wanted = set(people.device_numbers(person)) if person else {0}
        if person is sender.account.phone:
            wanted.discard(sender.number)
        reached = {to.device for to in addressed if people.by_jid(to.bare) is person}
        if not reached:
            self._note(message.text("id"), "encrypted for no device of its recipient")
        elif missed := sorted(wanted - reached):
            self._note(message.text("id"), f"not encrypted for the recipient's devices {missed}")

    def _read(
        self, sender: Device, message: Node, person: Contact, number: int, encrypted: Node
    ) -> list[Node]:
        message_id, kind = message.text("id"), encrypted.text("type")
        party = person.parties[number]
        try:
            content = party.decrypt(sender.lid.signal_address, kind, encrypted.data)
        except DuplicateMessage:
            if not any(each.id == message_id and each.device == number for each in person.inbox):
                self._note(message_id, "encrypted with a key that was used before: nobody reads it")
                return []
            # Sent again because its ack was lost: confirmed again, but shown only once.
        except Undecipherable as error:
            self._note(message_id, f"device {number} of its recipient cannot read it: {error}")
            return []
        else:
            person.inbox.append(_letter(sender, message, person, (number, kind), content))
        return [_receipt(person, number, message_id, DELIVERED)] if person.receipts else []

    def _note(self, message_id: str, what: str) -> None:
        self._world.journal.anomaly(message_id, what)


def _copies(message: Node) -> Iterator[tuple[JID, Node]]:
    """For each addressed device, what was encrypted for it.

    After a retry receipt the one copy stands in the message itself.
    """
    participants = message.get("participants")
    if participants is None:
        if encrypted := message.get("enc"):
            yield message.jid("to"), encrypted
        return
    for to in participants.children:
        if encrypted := to.get("enc"):
            yield to.jid("jid"), encrypted


def _letter(
    sender: Device, message: Node, person: Contact, read_as: tuple[int, str], content: bytes
) -> Letter:
    number, encryption = read_as
    body = e2e.Message.FromString(content)
    if body.HasField("deviceSentMessage"):  # A copy for the sender's own phone.
        body = body.deviceSentMessage.message
    fields = (descriptor.name for descriptor, _ in body.ListFields())
    kind = next((name for name in fields if name != "messageContextInfo"), "")
    return Letter(
        id=message.text("id"),
        text=_text(body, kind),
        to=person.number,
        device=number,
        sender=sender,
        encryption=encryption,
        kind=kind,
        extras=tuple(child.tag for child in message.children if child.tag != "participants"),
        content=content,
        at=time.time(),
    )


def _text(body: Any, kind: str) -> str | None:  # The generated protobuf classes are untyped.
    if kind == "conversation":
        return str(body.conversation)
    part = getattr(body, kind, None)
    text = getattr(part, "text", "") or getattr(part, "caption", "")
    return str(text) or None


def _ack(message: Node, error: int | None = None) -> Node:
    attrs: Attributes = {"class": "message", "id": message.text("id"), "from": message.jid("to")}
    return Node("ack", {**attrs, "t": int(time.time()), "error": error})


def _receipt(person: Contact, device: int, message_id: str, kind: str) -> Node:
    attrs: Attributes = {
        "from": JID(person.lid.user, LID_SERVER, device),
        "sender_pn": person.jid,
        "id": message_id,
        "t": int(time.time()),
        "type": None if kind == DELIVERED else kind,
    }
    return Node("receipt", attrs)


def _forwarded(sender: Device, message: Node, encrypted: Node) -> Node:
    """A message as another client gets it: by another account, or another device of the same."""
    attrs: Attributes = {
        "from": sender.lid,
        "sender_pn": sender.jid,
        "id": message.text("id"),
        "t": int(time.time()),
        "type": message.text("type"),
        "notify": sender.account.phone.name or sender.account.number,
    }
    return Node("message", attrs, [encrypted, *message.find("device-identity")])
