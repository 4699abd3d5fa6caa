"""Who is on WhatsApp: contacts with their devices, accounts with their linked devices."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

from tests.whatsapp_server.signal_protocol import Bundle, Party, PreKey
from tests.whatsapp_server.stanza import JID, LID_SERVER, Node


class Line(Protocol):
    """The connection of a linked device."""

    def send(self, node: Node) -> None:
        """Send a stanza, in order; nothing once the connection has ended."""

    def hang_up(self) -> None:
        """Send what is due, then close."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as one device of its recipient reads it.

    Attributes:
        id: the client's name for the message.
        text: its text, or the caption of its attachment.
        to: number of the recipient; for a copy to the sender's own phone, the own number.
        device: on which of the recipient's devices it is read.
        sender: the linked device that sent it.
        encryption: "pkmsg" (the first ones of a session) or "msg".
        kind: the field of the end-to-end message that is set, such as "conversation".
        extras: tags of the stanza's other children, such as "bot".
        content: the end-to-end message, serialised.
        at: in Unix seconds.
    """

    id: str
    text: str | None
    to: str
    device: int
    sender: "Device" = field(repr=False)
    encryption: str
    kind: str
    extras: tuple[str, ...]
    content: bytes = field(repr=False)
    at: float


@dataclass(slots=True, eq=False)
class Contact:
    """A person with a phone (device 0) and perhaps more devices.

    Attributes:
        registered: whether this number is on WhatsApp.
        receipts: whether its devices confirm each delivery.
        parties: the Signal half of each device; the index is the device's number.
        inbox: all letters of all devices, oldest first.
    """

    number: str
    name: str
    registered: bool
    receipts: bool
    parties: tuple[Party, ...] = field(repr=False)
    inbox: list[Letter] = field(default_factory=list, repr=False)

    @property
    def jid(self) -> JID:
        """Address by phone number."""
        return JID(self.number)

    @property
    def lid(self) -> JID:
        """Address that does not show the number; clients write to this one."""
        digest = int.from_bytes(sha256(self.number.encode()).digest()[:6], "big")
        return JID(str(10**14 + digest % 10**14), LID_SERVER)

    @property
    def texts(self) -> list[str | None]:
        """What this person reads: each message once, however many devices show it.

        A message that was sent twice has two ids and is here twice.
        """
        return list({letter.id: letter.text for letter in self.inbox}.values())


@dataclass(slots=True, eq=False)
class Account:
    """A person whose phone links devices.

    Attributes:
        phone: the person; its inbox holds copies of what the linked devices send.
        devices: linked ones, oldest first.
    """

    phone: Contact
    devices: list["Device"] = field(default_factory=list, repr=False)
    _linked: int = field(default=0, repr=False)

    def next_number(self) -> int:
        """The number of the next device; none is ever used twice."""
        self._linked += 1
        return self._linked

    @property
    def number(self) -> str:
        """Its phone number, digits only."""
        return self.phone.number


@dataclass(slots=True, eq=False)
class Device:
    """A linked device: the client under test.

    Attributes:
        number: its number among the account's devices; the phone is 0.
        noise_key: the public key it logs in with.
        keys: its Signal half, public parts, as last uploaded.
        prekeys: its one-time keys that nobody has used yet.
        line: its connection while logged in.
        waiting: stanzas it has not confirmed yet, by what their confirmation will say.
    """

    account: Account
    number: int
    noise_key: bytes = field(repr=False)
    keys: Bundle = field(repr=False)
    prekeys: list[PreKey] = field(default_factory=list, repr=False)
    line: Line | None = field(default=None, repr=False)
    waiting: dict[tuple[str, ...], Node] = field(default_factory=dict, repr=False)

    @property
    def jid(self) -> JID:
        """Address by phone number."""
        return JID(self.account.number, device=self.number)

    @property
    def lid(self) -> JID:
        """Address that does not show the number."""
        return JID(self.account.phone.lid.user, LID_SERVER, self.number)

    def bundle(self) -> Bundle:
        """What to hand to one who wants to write to it; uses up a one-time key."""
        return replace(self.keys, one_time=self.prekeys.pop(0) if self.prekeys else None)

    def deliver(self, node: Node) -> None:
        """Send a message or receipt now or at the next login, again at each until confirmed."""
        self.waiting[_name(node, "from")] = node
        if self.line is not None:
            self.line.send(node)

    def confirmed(self, ack: Node) -> None:
        """The client has seen what this `ack` names; nothing if it was not waiting."""
        self.waiting.pop(_name(ack, "to"), None)

    def has_read(self, message_id: str) -> None:
        """The client sent a receipt for this message; nothing if it was not waiting."""
        self.waiting.pop(("message", message_id), None)


def _name(node: Node, other: str) -> tuple[str, ...]:
    """What a stanza and the ack of it have in common.

    Receipts of several devices and kinds carry the same message id.
    """
    kind, stanza_id = str(node.attrs.get("class", node.tag)), node.text("id")
    if kind != "receipt":
        return kind, stanza_id
    return kind, stanza_id, str(node.attrs.get(other)), str(node.attrs.get("type"))


class People:
    """Everyone this server knows, found by number or LID."""

    def __init__(self) -> None:
        self.contacts: list[Contact] = []
        self.accounts: list[Account] = []
        self._known: dict[tuple[str, str], Contact] = {}

    def add(
        self, number: str, name: str, *, devices: int = 1, registered: bool = True, receipts: bool
    ) -> Contact:
        """Let a person exist.

        Raises:
            ValueError: no such number can be, or it is taken.
        """
        if not number.isdigit():
            raise ValueError(f"a number is written in digits only, not as {number!r}")
        if devices < 1:
            raise ValueError("everyone has a phone")
        if self.by_number(number):
            raise ValueError("there is somebody with this number already")
        parties = tuple(Party() for _ in range(devices))
        contact = Contact(number, name, registered, receipts, parties)
        self.contacts.append(contact)
        for jid in (contact.jid, contact.lid):
            self._known[jid.user, jid.server] = contact
        return contact

    def add_account(self, number: str, name: str) -> Account:
        """Let a person exist who links devices; raises as `add`."""
        account = Account(self.add(number, name, receipts=False))
        self.accounts.append(account)
        return account

    def by_number(self, number: str) -> Contact | None:
        """Who has this number (digits)."""
        return self.by_jid(JID(number))

    def by_jid(self, jid: JID) -> Contact | None:
        """Whose address this is."""
        return self._known.get((jid.user, jid.server))

    @property
    def devices(self) -> Iterator[Device]:
        """All linked devices."""
        return (device for account in self.accounts for device in account.devices)

    def linked(self, contact: Contact) -> list[Device]:
        """The devices this person linked."""
        return [device for device in self.devices if device.account.phone is contact]

    def device_numbers(self, contact: Contact) -> list[int]:
        """The numbers of all devices of this person, linked ones included."""
        return [*range(len(contact.parties)), *(device.number for device in self.linked(contact))]

    def bundle(self, person: Contact, number: int) -> Bundle | None:
        """The keys with which to write to a device of this person; None if there is no such."""
        if number < len(person.parties):
            return person.parties[number].bundle()
        device = self.linked_device(person, number)
        return device.bundle() if device else None

    def linked_device(self, person: Contact, number: int) -> Device | None:
        """The device of this number that this person linked."""
        return next((each for each in self.linked(person) if each.number == number), None)
