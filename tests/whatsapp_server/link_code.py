"""Linking by a code that is typed on the phone: what the phone computes.

Both sides send each other a fresh public key, encrypted under the code; then the client sends a
bundle encrypted under what these keys agree on, and both know a secret that only they can know.
As whatsmeow does it (its pair-code.go), checked against the library itself.
"""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.symmetric import hkdf

ROUNDS = 2 << 16
"""Of PBKDF2: a code has 40 bits only."""

SALT, IV, NONCE, KEY = 32, 16, 12, 32
"""Sizes in bytes, in the order in which they are sent."""

BUNDLE_INFO = b"link_code_pairing_key_bundle_encryption_key"
SECRET_INFO = b"adv_secret"


class WrongCode(ValueError):
    """What was typed is not what the client shows."""


class PhoneHalf:
    """One attempt.

    Args:
        code: as typed; a dash in it says nothing.
        hello: the client's wrapped key.
        identity: the phone's identity key.

    Attributes:
        wrapped_key: the phone's answer.
    """

    def __init__(self, code: str, hello: bytes, identity: KeyPair) -> None:
        self._code = code.replace("-", "").upper().encode()
        self._identity = identity
        salt, iv, wrapped = hello[:SALT], hello[SALT : SALT + IV], hello[SALT + IV :]
        self._client_key = self._crypt(salt, iv, wrapped)
        self._key = KeyPair()
        salt, iv = os.urandom(SALT), os.urandom(IV)
        self.wrapped_key = salt + iv + self._crypt(salt, iv, self._key.public)

    def open(self, bundle: bytes, client_identity: bytes) -> bytes:
        """The secret both sides now share.

        Args:
            bundle: the client's last word.
            client_identity: its identity key, as it said.

        Raises:
            WrongCode: the client used another one.
        """
        salt, nonce = bundle[:SALT], bundle[SALT : SALT + NONCE]
        shared = self._key.dh(self._client_key)
        key = hkdf(shared, KEY, salt=salt, info=BUNDLE_INFO)
        try:
            opened = AESGCM(key).decrypt(nonce, bundle[SALT + NONCE :], None)
        except InvalidTag:
            raise WrongCode("the client shows another code") from None
        if opened[: 2 * KEY] != client_identity + self._identity.public:
            raise WrongCode("somebody sits between the phone and the client")
        secret = shared + self._identity.dh(client_identity) + opened[2 * KEY :]
        return hkdf(secret, KEY, info=SECRET_INFO)

    def _crypt(self, salt: bytes, iv: bytes, data: bytes) -> bytes:
        key = hashlib.pbkdf2_hmac("sha256", self._code, salt, ROUNDS, KEY)
        return Cipher(algorithms.AES256(key), modes.CTR(iv)).encryptor().update(data)
