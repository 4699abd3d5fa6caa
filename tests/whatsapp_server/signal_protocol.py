"""One device as Signal knows it: its keys, its agreements with others (X3DH) and its sessions.

Formulas: "The X3DH Key Agreement Protocol" (revision 1). The padding is WhatsApp's own.
"""

import secrets
from dataclasses import dataclass
from itertools import count
from typing import Literal, TypeAlias

from tests.whatsapp_server.curve import KeyPair, verify
from tests.whatsapp_server.double_ratchet import (
    Chain,
    DuplicateMessage,
    NotAuthentic,
    Session,
    agreed_keys,
    turned,
)
from tests.whatsapp_server.signal_wire import (
    KEY_TYPE,
    Message,
    PreKeyHeader,
    Undecipherable,
    read_pre_key_message,
)

MessageKind: TypeAlias = Literal["pkmsg", "msg"]
"""With what is needed to begin a session, or within one."""

SESSIONS_KEPT = 40
"""With one device; libsignal keeps as many, for both sides may begin one at the same time."""

LARGEST_REGISTRATION_ID = 16380
LONGEST_PADDING = 15


class NoSession(Undecipherable):
    """There is no session with this device, or not the keys to begin the one it wants."""


class Untrusted(Exception):
    """A bundle whose signed key was not signed by its identity."""


@dataclass(frozen=True, slots=True)
class PreKey:
    """A public key under the number that its owner keeps it by."""

    id: int
    public: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a device publishes so that others can write to it while it is away."""

    registration_id: int
    identity: bytes
    signed: PreKey
    signature: bytes
    one_time: PreKey | None


class Party:
    """A device: its identity, its keys for others to begin with, and its sessions by address."""

    def __init__(self) -> None:
        self.identity = KeyPair()
        self.registration_id = secrets.randbelow(LARGEST_REGISTRATION_ID) + 1
        self._signed_id = 1
        self._signed = KeyPair()
        self._signature = self.identity.sign(KEY_TYPE + self._signed.public)
        self._one_time: dict[int, KeyPair] = {}
        self._one_time_ids = count(1)
        self._sessions: dict[str, tuple[Session, ...]] = {}

    def bundle(self, *, one_time: bool = True) -> Bundle:
        """What to hand to one who wants to write; with a new one-time key, if wanted."""
        return Bundle(
            self.registration_id,
            self.identity.public,
            PreKey(self._signed_id, self._signed.public),
            self._signature,
            self._new_one_time() if one_time else None,
        )

    def knows(self, address: str) -> bool:
        """Whether there is a session with this device."""
        return address in self._sessions

    def forget(self, address: str) -> None:
        """End all sessions with this device."""
        self._sessions.pop(address, None)

    def start(self, address: str, bundle: Bundle) -> None:
        """Begin a session with a device; what is encrypted next goes by it.

        Raises: Untrusted.
        """
        if not verify(bundle.identity, KEY_TYPE + bundle.signed.public, bundle.signature):
            raise Untrusted("the signed key of a bundle has a wrong signature")
        base, ratchet = KeyPair(), KeyPair()
        shared = [
            self.identity.dh(bundle.signed.public),
            base.dh(bundle.identity),
            base.dh(bundle.signed.public),
        ]
        if bundle.one_time:
            shared.append(base.dh(bundle.one_time.public))
        agreed_root, their_chain = agreed_keys(*shared)
        root, our_chain = turned(agreed_root, ratchet, bundle.signed.public)
        session = Session(
            our_identity=self.identity.public,
            their_identity=bundle.identity,
            base_key=base.public,
            root=root,
            ratchet=ratchet,
            sending=Chain(our_chain),
            receiving={bundle.signed.public: Chain(their_chain)},
            pending=self._header(bundle, base),
        )
        self._put_first(address, session)

    def encrypt(self, address: str, plaintext: bytes) -> tuple[MessageKind, bytes]:
        """Encrypt a message for a device, in the session used last.

        Raises: NoSession, before `start` or a message from there.
        """
        if not self.knows(address):
            raise NoSession(f"no session with {address}")
        session, *others = self._sessions[address]
        message, after = session.seal(_padded(plaintext))
        self._sessions[address] = (after, *others)
        if session.pending:
            return "pkmsg", session.pending.wrap(message)
        return "msg", message

    def decrypt(self, address: str, kind: str, ciphertext: bytes) -> bytes:
        """Read a message from a device. What cannot be read changes nothing.

        Raises: Undecipherable, of the several kinds.
        """
        if kind == "pkmsg":
            return self._decrypt_first(address, ciphertext)
        message = Message.read(ciphertext)
        failures: list[Undecipherable] = []
        for session in self._sessions.get(address, ()):
            try:
                return self._open(address, session, message)
            except Undecipherable as failure:
                failures.append(failure)
        raise _most_telling(failures) or NoSession(f"no session with {address}")

    def _decrypt_first(self, address: str, ciphertext: bytes) -> bytes:
        header, message = read_pre_key_message(ciphertext)
        for session in self._sessions.get(address, ()):
            if session.base_key == header.base_key:
                return self._open(address, session, message)
        plaintext = self._open(address, self._accepted(header), message)
        if header.one_time_id is not None:
            del self._one_time[header.one_time_id]
        return plaintext

    def _accepted(self, header: PreKeyHeader) -> Session:
        """The session that another device has begun with us."""
        if header.signed_id != self._signed_id:
            raise NoSession("a message for a signed key that we do not have")
        try:
            shared = [
                self._signed.dh(header.identity),
                self.identity.dh(header.base_key),
                self._signed.dh(header.base_key),
            ]
            if header.one_time_id is not None:
                shared.append(self._one_time[header.one_time_id].dh(header.base_key))
        except KeyError:
            raise NoSession("a message for a one-time key that we do not have") from None
        except ValueError:
            raise NotAuthentic("a public key of the message is none") from None
        root, chain_key = agreed_keys(*shared)
        return Session(
            our_identity=self.identity.public,
            their_identity=header.identity,
            base_key=header.base_key,
            root=root,
            ratchet=self._signed,
            sending=Chain(chain_key),
        )

    def _open(self, address: str, session: Session, message: Message) -> bytes:
        padded, after = session.open(message)
        plaintext = _unpadded(padded)
        self._put_first(address, after)
        return plaintext

    def _header(self, bundle: Bundle, base: KeyPair) -> PreKeyHeader:
        return PreKeyHeader(
            registration_id=self.registration_id,
            one_time_id=bundle.one_time.id if bundle.one_time else None,
            signed_id=bundle.signed.id,
            base_key=base.public,
            identity=self.identity.public,
        )

    def _put_first(self, address: str, session: Session) -> None:
        others = [
            each for each in self._sessions.get(address, ()) if each.base_key != session.base_key
        ]
        self._sessions[address] = (session, *others[: SESSIONS_KEPT - 1])

    def _new_one_time(self) -> PreKey:
        number = next(self._one_time_ids)
        self._one_time[number] = KeyPair()
        return PreKey(number, self._one_time[number].public)


def _most_telling(failures: list[Undecipherable]) -> Undecipherable | None:
    """A duplicate is one in whatever session it was read; else what the newest session says."""
    duplicates = [each for each in failures if isinstance(each, DuplicateMessage)]
    return next(iter(duplicates + failures), None)


def _padded(plaintext: bytes) -> bytes:
    """Hide the length: add n bytes of value n, n from 1 to 15 at random (WhatsApp's `enc` v2)."""
    size = secrets.randbelow(LONGEST_PADDING) + 1
    return plaintext + bytes([size]) * size


def _unpadded(padded: bytes) -> bytes:
    if not padded or not 0 < padded[-1] <= min(len(padded), 16):
        raise NotAuthentic("a message without WhatsApp's padding")
    return padded[: -padded[-1]]
