"""Encrypts and decrypts attachments as WhatsApp's clients do before the upload."""

import hashlib
import hmac
import os
from dataclasses import dataclass
from enum import StrEnum

from tests.whatsapp_server.symmetric import decrypt_cbc, encrypt_cbc, hkdf

MAC_SIZE = 10
"""Bytes of the HMAC-SHA256 that are kept, at the end of the file."""


class Media(StrEnum):
    """What an attachment is: the field of the message that describes it."""

    IMAGE = "imageMessage"
    VIDEO = "videoMessage"
    AUDIO = "audioMessage"
    DOCUMENT = "documentMessage"
    STICKER = "stickerMessage"

    @property
    def key_info(self) -> bytes:
        """What keeps the keys of the types apart; a sticker is an image."""
        name = "image" if self is Media.STICKER else self.name
        return f"WhatsApp {name.capitalize()} Keys".encode()


class Damaged(Exception):
    """An attachment is not what its message says it is."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """An attachment, ready for the upload, and what its message has to say about it."""

    file: bytes
    media_key: bytes
    file_sha256: bytes
    file_enc_sha256: bytes


@dataclass(frozen=True, slots=True)
class _Keys:
    iv: bytes
    cipher: bytes
    mac: bytes

    @classmethod
    def derive(cls, media: Media, media_key: bytes) -> "_Keys":
        # The last 32 of the 112 bytes are for streaming, which nobody here does.
        keys = hkdf(media_key, 112, info=media.key_info)
        return cls(iv=keys[:16], cipher=keys[16:48], mac=keys[48:80])

    def tag(self, ciphertext: bytes) -> bytes:
        return hmac.digest(self.mac, self.iv + ciphertext, "sha256")[:MAC_SIZE]


def encrypt(media: Media, content: bytes) -> Encrypted:
    """Encrypt an attachment under a new key."""
    media_key = os.urandom(32)
    keys = _Keys.derive(media, media_key)
    ciphertext = encrypt_cbc(keys.cipher, keys.iv, content)
    file = ciphertext + keys.tag(ciphertext)
    return Encrypted(file, media_key, _sha256(content), _sha256(file))


def decrypt(media: Media, encrypted: Encrypted) -> bytes:
    """The attachment itself, checked against all that is known about it.

    Raises: Damaged.
    """
    if _sha256(encrypted.file) != encrypted.file_enc_sha256:
        raise Damaged("the file is not the one that the message names")
    keys = _Keys.derive(media, encrypted.media_key)
    ciphertext, tag = encrypted.file[:-MAC_SIZE], encrypted.file[-MAC_SIZE:]
    if not hmac.compare_digest(keys.tag(ciphertext), tag):
        raise Damaged("the file was not encrypted with this key")
    try:
        content = decrypt_cbc(keys.cipher, keys.iv, ciphertext)
    except ValueError:
        raise Damaged("the file is cut off") from None
    if _sha256(content) != encrypted.file_sha256:
        raise Damaged("the content is not the one that the message names")
    return content


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
