"""Linking a device: the phone scans the client's QR code, or its owner types the client's code."""

import asyncio
import base64
import os
import secrets
import time
from asyncio import Future
from dataclasses import dataclass, field

from tests.whatsapp_server.connection import Connection, Greeting
from tests.whatsapp_server.device_identity import DeviceIdentity
from tests.whatsapp_server.link_code import PhoneHalf, WrongCode
from tests.whatsapp_server.people import Account, Device
from tests.whatsapp_server.signal_protocol import Bundle, PreKey
from tests.whatsapp_server.stanza import SERVER, Node
from tests.whatsapp_server.world import World

QR_CODES = 6
"""As many as the real server hands out: the first is shown for 60 s, each other one for 20 s."""

LINK_SECONDS = 30.0
"""A client answers the phone within 50 ms (measured)."""

WRONG_SECRET = bytes(32)

LINK_CODE = "link_code_companion_reg"


class NoSuchCode(ValueError):
    """No client that waits to be linked shows this code, or none does any longer."""


class NotLinked(Exception):
    """The client refused the phone's word, or left before it was linked."""


@dataclass(slots=True)
class _Hello:
    """A client's wish to be linked by a typed code.

    Attributes:
        number: of the phone on which it will be typed.
        wrapped_key: the client's key, for who knows the code.
        ref: names this wish.
        typed: the phone's half and its account, from when a code was typed.
    """

    number: str
    wrapped_key: bytes
    ref: bytes
    typed: tuple[PhoneHalf, Account] | None = None


@dataclass(slots=True)
class _Attempt:
    """A phone's attempt to link a client; its outcome is the device, or why there is none."""

    device: Device | None = None
    identity: DeviceIdentity | None = None
    outcome: Future[Device] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def fail(self, error: Exception) -> None:
        """End without a device; nothing if it has ended already."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # Seen, should nobody wait any longer.


@dataclass(slots=True)
class _Applicant:
    """A client that waits to be linked.

    Attributes:
        refs: what its QR codes begin with.
    """

    connection: Connection
    greeting: Greeting
    refs: tuple[str, ...]
    hello: _Hello | None = None
    attempt: _Attempt = field(default_factory=_Attempt)


class Pairing:
    """Knows the clients that wait to be linked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._applicants: dict[Connection, _Applicant] = {}

    def begin(self, connection: Connection, greeting: Greeting) -> None:
        """A client without a login: give it codes to show."""
        refs = tuple("2@" + base64.b64encode(os.urandom(96)).decode() for _ in range(QR_CODES))
        self._applicants[connection] = _Applicant(connection, greeting, refs)
        codes = [Node("ref", {}, ref) for ref in refs]
        connection.send(_ask("pair-device", Node("pair-device", {}, codes)))

    def left(self, connection: Connection) -> None:
        """A client is gone; it may never have been here."""
        if applicant := self._applicants.pop(connection, None):
            applicant.attempt.fail(NotLinked("the client left"))

    async def scan(self, qr: str, account: Account) -> Device:
        """The phone of an account scans a code; returns what it linked.

        Raises:
            NoSuchCode: nobody shows it.
            NotLinked: the client would not have it.
        """
        ref, *keys = qr.split("#")[-1].split(",")
        applicant = next((a for a in self._applicants.values() if ref in a.refs), None)
        if applicant is None or len(keys) < 3:
            raise NoSuchCode("no client shows this QR code (any longer)")
        noise_key, identity, secret = (base64.b64decode(key) for key in keys[:3])
        shown = applicant.greeting
        if (noise_key, identity) != (shown.noise_key, shown.payload.devicePairingData.eIdent):
            raise NoSuchCode("this QR code and the client that shows it name different keys")
        applicant.attempt = _Attempt()
        self._agree(applicant, account, secret)
        return await _outcome(applicant)

    async def type_code(self, code: str, account: Account) -> Device:
        """The owner of an account types a code on the phone; returns what it linked.

        Raises:
            NoSuchCode: nobody asked to be linked with this number, or it shows another code.
            NotLinked: the client would not have it.
        """
        wishes = ((a, a.hello) for a in reversed(self._applicants.values()) if a.hello)
        found = next((wish for wish in wishes if wish[1].number == account.number), None)
        if found is None:
            raise NoSuchCode("no client asked for a code for this number")
        applicant, hello = found
        identity = account.phone.parties[0].identity
        phone = PhoneHalf(code, hello.wrapped_key, identity)
        hello.typed = phone, account
        applicant.attempt = _Attempt()
        applicant.connection.send(_primary_hello(phone.wrapped_key, identity.public, hello.ref))
        return await _outcome(applicant)

    def link_code(self, connection: Connection, stage: Node) -> list[Node]:
        """Answer a client that wants to be linked by a typed code."""
        applicant = self._applicants[connection]
        if stage.text("stage") == "companion_hello":
            key = stage.need("link_code_pairing_wrapped_companion_ephemeral_pub").data
            applicant.hello = _Hello(stage.jid("jid").user, key, os.urandom(32))
            return [Node(LINK_CODE, {}, [Node("link_code_pairing_ref", {}, applicant.hello.ref)])]
        self._finish(applicant, stage)
        return []

    def answered(self, connection: Connection, answer: Node) -> None:
        """A client answered what we asked; only the answer to a phone's word means something."""
        applicant = self._applicants.get(connection)
        if applicant is None or applicant.attempt.outcome.done():
            return
        if sign := answer.get("pair-device-sign", "device-identity"):
            _sign(applicant, sign.data)
        elif answer.attrs.get("type") == "error":
            applicant.attempt.fail(NotLinked(f"the client answered {answer.get('error')}"))

    def _finish(self, applicant: _Applicant, stage: Node) -> None:
        if applicant.hello is None or applicant.hello.typed is None:
            raise NotLinked("the client finished what no phone began")
        phone, account = applicant.hello.typed
        bundle = stage.need("link_code_pairing_wrapped_key_bundle").data
        identity = stage.need("companion_identity_public").data
        try:
            self._agree(applicant, account, phone.open(bundle, identity))
        except WrongCode as error:
            applicant.attempt.fail(NoSuchCode(str(error)))

    def _agree(self, applicant: _Applicant, account: Account, secret: bytes) -> None:
        """The phone takes the client for its own."""
        device = _device(account, applicant.greeting)
        phone = account.phone.parties[0].identity
        identity = DeviceIdentity.of(phone, device.keys.identity, device.number)
        applicant.attempt.device, applicant.attempt.identity = device, identity
        sealed = identity.sealed(WRONG_SECRET if self._world.rules.on_pairing() else secret)
        parts = [
            Node("device-identity", {}, sealed),
            Node("device", {"jid": device.jid, "lid": device.lid}),
            Node("platform", {"name": "android"}),
            Node("biz", {"name": ""}),
        ]
        applicant.connection.send(_ask("pair-success", Node("pair-success", {}, parts)))


async def _outcome(applicant: _Applicant) -> Device:
    async with asyncio.timeout(LINK_SECONDS):
        return await applicant.attempt.outcome


def _sign(applicant: _Applicant, answer: bytes) -> None:
    """The client agrees: it is linked, and has to log in (whatsmeow does at a 515)."""
    device, identity = applicant.attempt.device, applicant.attempt.identity
    if device is None or identity is None or not identity.confirmed_by(answer):
        applicant.attempt.fail(NotLinked("the client's signature is wrong"))
        return
    device.account.devices.append(device)
    applicant.attempt.outcome.set_result(device)
    applicant.connection.send(Node("stream:error", {"code": 515}))


def _ask(name: str, content: Node) -> Node:
    return Node(
        "iq",
        {"from": SERVER, "type": "set", "id": name, "xmlns": "md", "t": int(time.time())},
        [content],
    )


def _primary_hello(wrapped_key: bytes, identity: bytes, ref: bytes) -> Node:
    parts = [
        Node("link_code_pairing_wrapped_primary_ephemeral_pub", {}, wrapped_key),
        Node("primary_identity_pub", {}, identity),
        Node("link_code_pairing_ref", {}, ref),
    ]
    return Node(
        "notification",
        {"from": SERVER, "type": LINK_CODE, "id": secrets.token_hex(8), "t": int(time.time())},
        [Node(LINK_CODE, {"stage": "primary_hello"}, parts)],
    )


def _device(account: Account, greeting: Greeting) -> Device:
    said = greeting.payload.devicePairingData
    keys = Bundle(
        registration_id=int.from_bytes(said.eRegid, "big"),
        identity=said.eIdent,
        signed=PreKey(int.from_bytes(said.eSkeyID, "big"), said.eSkeyVal),
        signature=said.eSkeySig,
        one_time=None,
    )
    return Device(account, account.next_number(), greeting.noise_key, keys)
