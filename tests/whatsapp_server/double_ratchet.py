"""The double ratchet of one Signal session, as a value: every step gives the session after it.

Formulas: "The Double Ratchet Algorithm" (revision 1) with the constants of libsignal's version 3.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.signal_wire import (
    KEY_TYPE,
    MAC_SIZE,
    Message,
    PreKeyHeader,
    Undecipherable,
    signed_part,
)
from tests.whatsapp_server.symmetric import decrypt_cbc, encrypt_cbc, hkdf

FURTHEST = 2000
"""Messages that may be missing before one, and keys kept for such: libsignal's limit."""

RECEIVING_CHAINS = 5
"""Of the other side's newest ratchet keys; the last messages under older ones are lost, if late."""


class DuplicateMessage(Undecipherable):
    """This message was read before."""


class TooFarAhead(Undecipherable):
    """More than 2000 messages are missing before this one."""


class NotAuthentic(Undecipherable):
    """Nobody wrote this message in this session, or it was altered."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain key, and the number of the message that it is for."""

    key: bytes
    index: int = 0

    @property
    def message_seed(self) -> bytes:
        """What the keys of message number `index` are derived from."""
        return hmac.digest(self.key, b"\x01", "sha256")

    def next(self) -> "Chain":
        """The chain, one message later."""
        return Chain(hmac.digest(self.key, b"\x02", "sha256"), self.index + 1)

    def until(self, index: int) -> "Iterator[Chain]":
        """The chain at each message from here to before `index`."""
        chain = self
        while chain.index < index:
            yield chain
            chain = chain.next()


@dataclass(frozen=True, slots=True)
class MessageKeys:
    """What one message is encrypted and authenticated with."""

    cipher: bytes
    mac: bytes
    iv: bytes

    @classmethod
    def derive(cls, seed: bytes) -> "MessageKeys":
        """Derive them from the seed that the chain gives."""
        keys = hkdf(seed, 80, info=b"WhisperMessageKeys")
        return cls(keys[:32], keys[32:64], keys[64:])

    def tag(self, sender: bytes, receiver: bytes, signed: bytes) -> bytes:
        """The MAC of a message between these identities."""
        covered = KEY_TYPE + sender + KEY_TYPE + receiver + signed
        return hmac.digest(self.mac, covered, "sha256")[:MAC_SIZE]


def agreed_keys(*secrets: bytes) -> tuple[bytes, bytes]:
    """Root key and chain key from the secrets of X3DH (section 2.2; 32 bytes 0xFF come first)."""
    keys = hkdf(b"\xff" * 32 + b"".join(secrets), 64, info=b"WhisperText")
    return keys[:32], keys[32:]


def turned(root: bytes, ours: KeyPair, theirs: bytes) -> tuple[bytes, bytes]:
    """Root key and chain key after a step of the Diffie-Hellman ratchet.

    Raises: NotAuthentic, if `theirs` is no key: only a forger sends such.
    """
    try:
        secret = ours.dh(theirs)
    except ValueError:
        raise NotAuthentic("a ratchet key is no key") from None
    keys = hkdf(secret, 64, salt=root, info=b"WhisperRatchet")
    return keys[:32], keys[32:]


@dataclass(frozen=True, slots=True)
class Session:
    """What one device knows of its talk with another.

    `skipped` has the seeds of messages that others overtook, by ratchet key and number; `base_key`
    tells apart the sessions that one device began; `pending` goes with every message until the
    other side has answered.
    """

    our_identity: bytes
    their_identity: bytes
    base_key: bytes
    root: bytes
    ratchet: KeyPair
    sending: Chain
    previous: int = 0
    receiving: Mapping[bytes, Chain] = field(default_factory=dict)
    skipped: Mapping[tuple[bytes, int], bytes] = field(default_factory=dict)
    pending: PreKeyHeader | None = None

    def seal(self, plaintext: bytes) -> tuple[bytes, "Session"]:
        """Encrypt the next message: its bytes, and the session after it."""
        keys = MessageKeys.derive(self.sending.message_seed)
        ciphertext = encrypt_cbc(keys.cipher, keys.iv, plaintext)
        signed = signed_part(self.ratchet.public, self.sending.index, self.previous, ciphertext)
        message = signed + keys.tag(self.our_identity, self.their_identity, signed)
        return message, replace(self, sending=self.sending.next())

    def open(self, message: Message) -> tuple[bytes, "Session"]:
        """Decrypt a message: its plaintext, and the session after it.

        Raises: Undecipherable.
        """
        place = message.ratchet, message.counter
        if (seed := self.skipped.get(place)) is not None:
            left = {each: kept for each, kept in self.skipped.items() if each != place}
            return self._decrypt(seed, message), replace(self, skipped=left, pending=None)
        if message.ratchet in self.receiving:
            return self._open_next(message)
        # Keys that nobody authenticated yet cost us nothing but this value.
        root, chain_key = turned(self.root, self.ratchet, message.ratchet)
        chains = dict(list(self.receiving.items())[1 - RECEIVING_CHAINS :])
        entered = replace(self, root=root, receiving={**chains, message.ratchet: Chain(chain_key)})
        plaintext, after = entered._open_next(message)
        return plaintext, after._turn(message.ratchet)

    def _open_next(self, message: Message) -> tuple[bytes, "Session"]:
        """Open a message of a known chain that was not overtaken."""
        chain = self.receiving[message.ratchet]
        if message.counter < chain.index:
            raise DuplicateMessage("this message was read before")
        if message.counter - chain.index > FURTHEST:
            raise TooFarAhead(f"more than {FURTHEST} messages are missing")
        skipped = dict(self.skipped)
        for missing in chain.until(message.counter):
            skipped[message.ratchet, missing.index] = missing.message_seed
            chain = missing.next()
        plaintext = self._decrypt(chain.message_seed, message)
        while len(skipped) > FURTHEST:
            del skipped[next(iter(skipped))]
        receiving = {**self.receiving, message.ratchet: chain.next()}
        return plaintext, replace(self, receiving=receiving, skipped=skipped, pending=None)

    def _turn(self, theirs: bytes) -> "Session":
        """Answer a new ratchet key of the other side by one of ours."""
        ours = KeyPair()
        root, chain_key = turned(self.root, ours, theirs)
        return replace(
            self, root=root, ratchet=ours, sending=Chain(chain_key), previous=self.sending.index
        )

    def _decrypt(self, seed: bytes, message: Message) -> bytes:
        keys = MessageKeys.derive(seed)
        expected = keys.tag(self.their_identity, self.our_identity, message.signed)
        if not hmac.compare_digest(expected, message.mac):
            raise NotAuthentic("a message has the wrong MAC")
        try:
            return decrypt_cbc(keys.cipher, keys.iv, message.ciphertext)
        except ValueError:
            raise NotAuthentic("a message was not encrypted with its own keys") from None
