"""The server's half of WhatsApp's handshake (Noise_XX_25519_AESGCM_SHA256) and the ciphers after.

It follows "The Noise Protocol Framework" (revision 34), but for one thing that whatsmeow does
differently: the payload of the first message, always empty, is not mixed into the hash.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.installed import cert
from tests.whatsapp_server.symmetric import hkdf

# Exactly as long as the hash, so it is the first hash itself (Noise 5.2).
PROTOCOL = b"Noise_XX_25519_AESGCM_SHA256".ljust(32, b"\0")


class NotAuthentic(Exception):
    """What the client sent was not encrypted by who knows the keys, or not in this order."""


class Cipher:
    """AES-GCM under one key, whose nonce counts the messages (Noise 5.1 and 12.4)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._count = 0

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Encrypt the next message."""
        return self._cipher.encrypt(self._nonce(), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """Decrypt the next message.

        Raises: NotAuthentic.
        """
        try:
            return self._cipher.decrypt(self._nonce(), ciphertext, associated)
        except InvalidTag:
            raise NotAuthentic("a message fails authentication") from None

    def _nonce(self) -> bytes:
        nonce = self._count.to_bytes(12, "big")
        self._count += 1
        return nonce


@dataclass(frozen=True, slots=True)
class Transport:
    """The ciphers of an established connection: `receiving` from the client, `sending` to it."""

    receiving: Cipher
    sending: Cipher

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt the next frame to the client."""
        return self.sending.encrypt(plaintext)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt the next frame from the client.

        Raises: NotAuthentic.
        """
        return self.receiving.decrypt(ciphertext)


class SymmetricState:
    """The running hash and keys of a handshake (Noise 5.2)."""

    def __init__(self, prologue: bytes) -> None:
        self.hash = self._chaining_key = PROTOCOL
        self._cipher: Cipher | None = None
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        """Bind the handshake to `data`."""
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Go on with keys that need `secret` too."""
        self._chaining_key, key = self._derive(secret)
        self._cipher = Cipher(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt under the newest key and bind the handshake to the result."""
        ciphertext = self._keyed().encrypt(plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Reverse `encrypt_and_hash` of the other side.

        Raises: NotAuthentic.
        """
        plaintext = self._keyed().decrypt(ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[Cipher, Cipher]:
        """The ciphers of the connection: initiator to responder, responder to initiator."""
        first, second = self._derive(b"")
        return Cipher(first), Cipher(second)

    def _derive(self, secret: bytes) -> tuple[bytes, bytes]:
        keys = hkdf(secret, 64, salt=self._chaining_key)
        return keys[:32], keys[32:]

    def _keyed(self) -> Cipher:
        if self._cipher is None:
            raise NotAuthentic("nothing can be encrypted before the first exchange of keys")
        return self._cipher


@dataclass(frozen=True, slots=True)
class ServerHello:
    """The second message, in the parts in which WhatsApp's protobuf carries it."""

    ephemeral: bytes
    static: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """What the third message brings: who the client is, what it says, and how to go on talking."""

    client_static: bytes
    payload: bytes
    transport: Transport


@dataclass(slots=True)
class Responder:
    """One handshake: `read_hello`, `write_hello`, `read_finish`, in this order.

    `prologue` is what both sides have said before: here the four bytes that open a connection.
    """

    static: KeyPair
    prologue: bytes
    ephemeral: KeyPair = field(default_factory=KeyPair)
    state: SymmetricState = field(init=False)
    _client_ephemeral: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self.state = SymmetricState(self.prologue)

    def read_hello(self, ephemeral: bytes) -> None:
        """-> e"""
        self._client_ephemeral = ephemeral
        self.state.mix_hash(ephemeral)

    def write_hello(self, payload: bytes) -> ServerHello:
        """<- e, ee, s, es.

        Raises: NotAuthentic, if the client's key is no key.
        """
        self.state.mix_hash(self.ephemeral.public)
        self._agree(self.ephemeral, self._client_ephemeral)
        static = self.state.encrypt_and_hash(self.static.public)
        self._agree(self.static, self._client_ephemeral)
        return ServerHello(self.ephemeral.public, static, self.state.encrypt_and_hash(payload))

    def read_finish(self, static: bytes, payload: bytes) -> Finished:
        """-> s, se.

        Raises: NotAuthentic.
        """
        client_static = self.state.decrypt_and_hash(static)
        self._agree(self.ephemeral, client_static)
        opened = self.state.decrypt_and_hash(payload)
        return Finished(client_static, opened, Transport(*self.state.split()))

    def _agree(self, ours: KeyPair, theirs: bytes) -> None:
        try:
            self.state.mix_key(ours.dh(theirs))
        except ValueError:
            raise NotAuthentic("the client's public key is none") from None


def certificate_chain(root: KeyPair, static_public: bytes) -> bytes:
    """The payload of the server's hello: a protobuf that proves its static key.

    whatsmeow wants two certificates: an intermediate signed by the root key that it has built in
    (issuer 0), and a leaf for the static key, signed by the intermediate.
    """
    intermediate = KeyPair()
    return bytes(
        cert.CertChain(
            intermediate=_certificate(root, intermediate.public, serial=1),
            leaf=_certificate(intermediate, static_public, serial=2),
        ).SerializeToString()
    )


def _certificate(issuer: KeyPair, key: bytes, serial: int) -> object:
    now = datetime.now(UTC)
    details = cert.CertChain.NoiseCertificate.Details(
        serial=serial,
        issuerSerial=serial - 1,
        key=key,
        notBefore=int((now - timedelta(days=1)).timestamp()),
        notAfter=int((now + timedelta(days=30)).timestamp()),
    ).SerializeToString()
    return cert.CertChain.NoiseCertificate(details=details, signature=issuer.sign(details))
