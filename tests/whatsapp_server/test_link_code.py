"""A typed code links phone and client only if it is the one that the client shows."""

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.link_code import PhoneHalf, WrongCode

CODE = "ABCD-1234"


class Client:
    """The client's half, written from what whatsmeow does and not from `PhoneHalf`."""

    def __init__(self, code: str) -> None:
        self.code = code.replace("-", "").encode()
        self.ephemeral, self.identity = KeyPair(), KeyPair()
        self.adv_secret = b""

    def crypt(self, salt: bytes, iv: bytes, data: bytes) -> bytes:
        key = hashlib.pbkdf2_hmac("sha256", self.code, salt, 131072, 32)
        return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)

    def hello(self) -> bytes:
        salt, iv = os.urandom(32), os.urandom(16)
        return salt + iv + self.crypt(salt, iv, self.ephemeral.public)

    def finish(self, wrapped: bytes, phone_identity: bytes) -> bytes:
        shared = self.ephemeral.dh(self.crypt(wrapped[:32], wrapped[32:48], wrapped[48:]))
        salt, nonce, random = os.urandom(32), os.urandom(12), os.urandom(32)
        key = derived(shared, salt, b"link_code_pairing_key_bundle_encryption_key")
        bundle = self.identity.public + phone_identity + random
        secret = shared + self.identity.dh(phone_identity) + random
        self.adv_secret = derived(secret, None, b"adv_secret")
        return salt + nonce + AESGCM(key).encrypt(nonce, bundle, None)


def derived(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


@pytest.mark.parametrize("typed", [CODE, "abcd1234"])
def test_both_know_the_same_secret_afterwards(typed: str) -> None:
    client, identity = Client(CODE), KeyPair()
    phone = PhoneHalf(typed, client.hello(), identity)
    bundle = client.finish(phone.wrapped_key, identity.public)
    assert phone.open(bundle, client.identity.public) == client.adv_secret


def test_another_code_is_noticed() -> None:
    client, identity = Client(CODE), KeyPair()
    phone = PhoneHalf("ABCD-1235", client.hello(), identity)
    bundle = client.finish(phone.wrapped_key, identity.public)
    with pytest.raises(WrongCode, match="another code"):
        phone.open(bundle, client.identity.public)


def test_a_bundle_for_other_identities_is_noticed() -> None:
    client, identity = Client(CODE), KeyPair()
    phone = PhoneHalf(CODE, client.hello(), identity)
    bundle = client.finish(phone.wrapped_key, KeyPair().public)
    with pytest.raises(WrongCode, match="between the phone and the client"):
        phone.open(bundle, client.identity.public)
