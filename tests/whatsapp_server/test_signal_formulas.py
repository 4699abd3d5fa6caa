"""Our Signal party against one built here from the specifications, byte by byte.

"The X3DH Key Agreement Protocol" and "The Double Ratchet Algorithm", with libsignal's constants.
"""

import hmac
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from tests.whatsapp_server.double_ratchet import Chain, MessageKeys, NotAuthentic
from tests.whatsapp_server.formulas import dh, hkdf, public
from tests.whatsapp_server.signal_protocol import Bundle, Party
from tests.whatsapp_server.signal_wire import Message, NotASignalMessage

PEER = "15551110001:0"


def number_field(number: int, value: int) -> bytes:
    """A protobuf field with a number below 128."""
    return bytes([number << 3, value])


def bytes_field(number: int, value: bytes) -> bytes:
    """A protobuf field of bytes: key, length as a varint, content."""
    length = [len(value)] if len(value) < 128 else [len(value) & 0x7F | 0x80, len(value) >> 7]
    return bytes([number << 3 | 2, *length]) + value


def keys_of(seed: bytes) -> tuple[bytes, bytes, bytes]:
    """Cipher key, MAC key and IV of one message."""
    keys = hkdf(seed, b"", b"WhisperMessageKeys", 80)
    return keys[:32], keys[32:64], keys[64:]


def sealed(key: bytes, iv: bytes, padded: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    filling = 16 - len(padded) % 16
    return encryptor.update(padded + bytes([filling]) * filling) + encryptor.finalize()


def opened(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return padded[: -padded[-1]]


@dataclass
class Stranger:
    """One who begins a session by the formulas, and sends and reads one message."""

    bundle: Bundle

    def __post_init__(self) -> None:
        self.identity, self.base, self.ratchet = (X25519PrivateKey.generate() for _ in range(3))
        secrets = [
            dh(self.identity, self.bundle.signed.public),
            dh(self.base, self.bundle.identity),
            dh(self.base, self.bundle.signed.public),
        ]
        if self.bundle.one_time:
            secrets.append(dh(self.base, self.bundle.one_time.public))
        agreed = hkdf(b"\xff" * 32 + b"".join(secrets), b"", b"WhisperText", 64)
        self.root, self.chain = self.turn(agreed[:32], self.bundle.signed.public)

    def turn(self, root: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        keys = hkdf(dh(self.ratchet, theirs), root, b"WhisperRatchet", 64)
        return keys[:32], keys[32:]

    def first_message(self, text: bytes) -> bytes:
        return self.carrying(self.encrypted(text + b"\x02\x02"))

    def encrypted(self, padded: bytes) -> bytes:
        key, _, iv = keys_of(hmac.digest(self.chain, b"\x01", "sha256"))
        return sealed(key, iv, padded)

    def carrying(self, ciphertext: bytes) -> bytes:
        _, mac_key, _ = keys_of(hmac.digest(self.chain, b"\x01", "sha256"))
        signed = (
            b"\x33"
            + bytes_field(1, b"\x05" + public(self.ratchet))
            + number_field(2, 0)
            + number_field(3, 0)
            + bytes_field(4, ciphertext)
        )
        identities = b"\x05" + public(self.identity) + b"\x05" + self.bundle.identity
        mac = hmac.digest(mac_key, identities + signed, "sha256")[:8]
        one_time = number_field(1, self.bundle.one_time.id) if self.bundle.one_time else b""
        return (
            b"\x33"
            + one_time
            + bytes_field(2, b"\x05" + public(self.base))
            + bytes_field(3, b"\x05" + public(self.identity))
            + bytes_field(4, signed + mac)
            + number_field(5, 17)
            + number_field(6, self.bundle.signed.id)
        )

    def read_answer(self, data: bytes) -> bytes:
        message = Message.read(data)
        _, chain = self.turn(self.root, message.ratchet)
        key, mac_key, iv = keys_of(hmac.digest(chain, b"\x01", "sha256"))
        identities = b"\x05" + self.bundle.identity + b"\x05" + public(self.identity)
        assert message.mac == hmac.digest(mac_key, identities + data[:-8], "sha256")[:8]
        padded = opened(key, iv, message.ciphertext)
        return padded[: -padded[-1]]


@given(st.booleans(), st.binary(max_size=1000))
def test_who_knows_only_the_formulas_can_begin_and_is_answered(one_time: bool, text: bytes) -> None:
    party = Party()
    stranger = Stranger(party.bundle(one_time=one_time))
    assert party.decrypt(PEER, "pkmsg", stranger.first_message(text)) == text
    kind, answer = party.encrypt(PEER, text[::-1])
    assert kind == "msg"
    assert stranger.read_answer(answer) == text[::-1]


@pytest.mark.parametrize(
    "key", [b"", b"\x05" + bytes(31), b"\x05" + bytes(33), b"\x06" + bytes(32)]
)
def test_a_key_of_another_form_is_no_key(key: bytes) -> None:
    message = b"\x33" + bytes_field(1, key) + number_field(2, 0) + bytes_field(4, bytes(16))
    with pytest.raises(NotASignalMessage, match="Curve25519"):
        Message.read(message + bytes(8))


@pytest.mark.parametrize("padded", [b"", b"no padding\0", b"too much\xff"])
def test_a_message_without_the_padding_of_whatsapp_is_refused(padded: bytes) -> None:
    party = Party()
    stranger = Stranger(party.bundle())
    with pytest.raises(NotAuthentic, match="padding"):
        party.decrypt(PEER, "pkmsg", stranger.carrying(stranger.encrypted(padded)))
    assert party.decrypt(PEER, "pkmsg", stranger.first_message(b"better")) == b"better"


def test_a_message_whose_own_author_encrypted_it_wrongly_is_refused() -> None:
    party = Party()
    stranger = Stranger(party.bundle())
    with pytest.raises(NotAuthentic, match="its own keys"):
        party.decrypt(PEER, "pkmsg", stranger.carrying(b"no whole block"))


def test_a_message_tells_its_place_and_the_length_of_the_chain_before() -> None:
    alice, bob = Party(), Party()
    alice.start("bob", bob.bundle())
    for _ in range(3):
        bob.decrypt("alice", *alice.encrypt("bob", b"three in the first chain"))
    alice.decrypt("bob", *bob.encrypt("alice", b"an answer"))
    messages = [alice.encrypt("bob", b"two in the second")[1] for _ in range(2)]
    # They stand behind the version and the ratchet key.
    places = [message[36:40] for message in messages]
    assert places == [number_field(2, number) + number_field(3, 3) for number in (0, 1)]


@given(st.binary(min_size=32, max_size=32), st.integers(0, 20))
def test_the_keys_of_each_message_follow_from_the_chain(key: bytes, index: int) -> None:
    chain = Chain(key)
    for _ in range(index):
        chain = chain.next()
        key = hmac.digest(key, b"\x02", "sha256")
    assert chain == Chain(key, index)
    keys = MessageKeys.derive(chain.message_seed)
    assert (keys.cipher, keys.mac, keys.iv) == keys_of(hmac.digest(key, b"\x01", "sha256"))
