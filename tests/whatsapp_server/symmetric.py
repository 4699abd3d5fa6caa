"""HKDF-SHA256 and AES-256-CBC, in the form in which Noise, Signal and WhatsApp's media use them."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7


def hkdf(secret: bytes, size: int, *, salt: bytes | None = None, info: bytes = b"") -> bytes:
    """Derive `size` bytes from a secret (RFC 5869)."""
    return HKDF(SHA256(), size, salt, info).derive(secret)


def encrypt_cbc(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """Encrypt with AES-CBC and PKCS#7 padding."""
    padder = PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def decrypt_cbc(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """Reverse `encrypt_cbc`.

    Raises: ValueError, if the length or the padding is wrong. That proves nothing about who wrote
    it: check the MAC first.
    """
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
