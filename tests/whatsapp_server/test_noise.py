"""The handshake, against a published vector and against a client written here from the paper."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.whatsapp_server import formulas
from tests.whatsapp_server.curve import KeyPair, verify
from tests.whatsapp_server.installed import cert
from tests.whatsapp_server.noise import (
    Finished,
    NotAuthentic,
    Responder,
    ServerHello,
    certificate_chain,
)

# Noise_XX_25519_AESGCM_SHA256 among the vectors of the Cacophony library.
PROLOGUE = "4a6f686e2047616c74"
RESPONDER_STATIC = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"
RESPONDER_EPHEMERAL = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"
INITIATOR_STATIC = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"
INITIATOR_EPHEMERAL = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
HELLO = b"Ludwig von Mises"
ANSWER, ANSWER_ON_THE_WIRE = (
    b"Murray Rothbard",
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843757117acceb05bd7a45733bc2201"
    "5c97a9d0cbaf41b80446d5988ff5127235d76b79eade70f473d6a4ef521fdcbeda5340d01e028ba793fc059f2724"
    "a83af05f12dda0448a7621a926b379a92477fd",
)
FINISH, FINISH_ON_THE_WIRE = (
    b"F. A. Hayek",
    "c90f1cf77eba4e50edb038991565e36c9758943a989229b6051244dc4fbecb6946744b401af2ee1a5881b65fbb87"
    "fd07cb6a328ececc9ce6ce84c399dc332d4fd521fa4bb7f467ce909395",
)
# After the handshake: from the responder, from the initiator, from the responder.
TRANSPORT = [
    (b"Carl Menger", "bc3fa77f6aca3e8466d7dc6bea10013e88a6a29add5132b461806c"),
    (b"Jean-Baptiste Say", "250b01074cdfe0df2ecf8ccbf1737b15a2ddb5b52fd9a396604e9c793cee3b3bb9"),
    (
        b"Eugen B\xf6hm von Bawerk",
        "449d4d433b3cdc3d02bf6fc881774b9df54366ebcffb9689bb13f14709822cd7ef42bcdb4d",
    ),
]

CLIENT_PROLOGUE = b"WA\x06\x03"


class Client:
    """The initiator by the formulas of Noise; as WhatsApp's clients, it hashes no empty payload."""

    def __init__(self, prologue: bytes) -> None:
        self.static, self.ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self.chain = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0"
        self.hash = self.chain
        self.mix(prologue)
        self.mix(formulas.public(self.ephemeral))

    def mix(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def agree(self, private: X25519PrivateKey, public: bytes) -> None:
        keys = formulas.hkdf(formulas.dh(private, public), self.chain, b"", 64)
        self.chain, self.key, self.nonce = keys[:32], AESGCM(keys[32:]), 0

    def seal(self, plaintext: bytes) -> bytes:
        sealed = self.key.encrypt(self.next_nonce(), plaintext, self.hash)
        self.mix(sealed)
        return sealed

    def unseal(self, sealed: bytes) -> bytes:
        plaintext = self.key.decrypt(self.next_nonce(), sealed, self.hash)
        self.mix(sealed)
        return plaintext

    def next_nonce(self) -> bytes:
        self.nonce += 1
        return bytes(4) + (self.nonce - 1).to_bytes(8, "big")

    def read(self, hello: ServerHello) -> tuple[bytes, bytes]:
        self.mix(hello.ephemeral)
        self.server_ephemeral = hello.ephemeral
        self.agree(self.ephemeral, hello.ephemeral)
        static = self.unseal(hello.static)
        self.agree(self.ephemeral, static)
        return static, self.unseal(hello.payload)

    def finish(self, payload: bytes) -> tuple[bytes, bytes]:
        static = self.seal(formulas.public(self.static))
        self.agree(self.static, self.server_ephemeral)
        return static, self.seal(payload)

    def split(self) -> tuple[AESGCM, AESGCM]:
        keys = formulas.hkdf(b"", self.chain, b"", 64)
        return AESGCM(keys[:32]), AESGCM(keys[32:])


def from_the_vector() -> tuple[ServerHello, Callable[[], Finished]]:
    """The responder's hello, and how to go on to the end."""
    responder = Responder(
        static=KeyPair(bytes.fromhex(RESPONDER_STATIC)),
        prologue=bytes.fromhex(PROLOGUE),
        ephemeral=KeyPair(bytes.fromhex(RESPONDER_EPHEMERAL)),
    )
    responder.read_hello(bytes.fromhex(INITIATOR_EPHEMERAL))
    responder.state.mix_hash(HELLO)  # Plain Noise hashes this payload; WhatsApp has none.
    hello = responder.write_hello(ANSWER)
    finish = bytes.fromhex(FINISH_ON_THE_WIRE)
    return hello, lambda: responder.read_finish(finish[:48], finish[48:])


def test_the_published_handshake_comes_out_byte_for_byte() -> None:
    hello, finish = from_the_vector()
    assert hello.ephemeral + hello.static + hello.payload == bytes.fromhex(ANSWER_ON_THE_WIRE)
    finished = finish()
    assert finished.client_static == KeyPair(bytes.fromhex(INITIATOR_STATIC)).public
    assert finished.payload == FINISH


def test_the_published_messages_after_the_handshake_come_out_byte_for_byte() -> None:
    _, finish = from_the_vector()
    transport = finish().transport
    first, second, third = ((text, bytes.fromhex(sealed)) for text, sealed in TRANSPORT)
    assert transport.encrypt(first[0]) == first[1]
    assert transport.decrypt(second[1]) == second[0]
    assert transport.encrypt(third[0]) == third[1]


def shaken(client: Client, static: KeyPair) -> Finished:
    responder = Responder(static, CLIENT_PROLOGUE)
    responder.read_hello(formulas.public(client.ephemeral))
    assert client.read(responder.write_hello(b"chain")) == (static.public, b"chain")
    return responder.read_finish(*client.finish(b"who I am"))


def test_a_client_that_knows_only_the_formulas_can_talk_both_ways() -> None:
    client = Client(CLIENT_PROLOGUE)
    finished = shaken(client, KeyPair())
    assert finished.client_static == formulas.public(client.static)
    assert finished.payload == b"who I am"
    to_server, to_client = client.split()
    for number in range(3):
        nonce = number.to_bytes(12, "big")
        assert finished.transport.decrypt(to_server.encrypt(nonce, b"up", b"")) == b"up"
        assert to_client.decrypt(nonce, finished.transport.encrypt(b"down"), b"") == b"down"


def test_a_frame_that_was_altered_or_repeated_is_refused() -> None:
    client = Client(CLIENT_PROLOGUE)
    transport = shaken(client, KeyPair()).transport
    to_server, _ = client.split()
    frame = to_server.encrypt(bytes(12), b"up", b"")
    assert transport.decrypt(frame) == b"up"
    with pytest.raises(NotAuthentic):
        transport.decrypt(frame)


def test_a_client_with_another_prologue_is_refused() -> None:
    client = Client(b"WA\x06\x02")
    responder = Responder(KeyPair(), CLIENT_PROLOGUE)
    responder.read_hello(formulas.public(client.ephemeral))
    responder.write_hello(b"chain")
    client.agree(client.ephemeral, responder.ephemeral.public)
    with pytest.raises(NotAuthentic):
        responder.read_finish(client.seal(formulas.public(client.static)), b"")


@pytest.mark.parametrize("key", [b"", bytes(32), bytes(33)])
def test_a_client_without_a_usable_key_is_refused(key: bytes) -> None:
    responder = Responder(KeyPair(), CLIENT_PROLOGUE)
    responder.read_hello(key)
    with pytest.raises(NotAuthentic):
        responder.write_hello(b"chain")


def test_a_finish_before_the_hello_is_refused() -> None:
    with pytest.raises(NotAuthentic):
        Responder(KeyPair(), CLIENT_PROLOGUE).read_finish(bytes(48), bytes(16))


def test_the_certificates_lead_from_the_root_to_the_server() -> None:
    root, static = KeyPair(), KeyPair()
    chain = cert.CertChain.FromString(certificate_chain(root, static.public))
    details = cert.CertChain.NoiseCertificate.Details
    intermediate = details.FromString(chain.intermediate.details)
    leaf = details.FromString(chain.leaf.details)
    assert verify(root.public, chain.intermediate.details, chain.intermediate.signature)
    assert verify(intermediate.key, chain.leaf.details, chain.leaf.signature)
    assert (intermediate.issuerSerial, leaf.issuerSerial) == (0, intermediate.serial)
    assert leaf.key == static.public
