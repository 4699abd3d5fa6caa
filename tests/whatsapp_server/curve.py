"""Curve25519 key pairs that agree on secrets (X25519) and sign (XEdDSA), as Signal uses them.

XEdDSA is the specification "The XEdDSA and VXEdDSA Signature Schemes" (revision 1, section 2).
"""

import hashlib
import os

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl import bindings as sodium

FIELD_PRIME = 2**255 - 19
SIGN_BIT = 0x80
"""Of the last byte of an Edwards point: the sign of its x coordinate."""

NONCE_PREFIX = b"\xfe" + b"\xff" * 31
"""Keeps the hash of the nonce apart from all others: 2^256 - 2, little-endian (XEdDSA 2.5)."""


class KeyPair:
    """A private key and its public key; a new one unless the 32 private bytes are given."""

    __slots__ = ("_exchange", "private", "public")

    def __init__(self, private: bytes | None = None) -> None:
        self.private = _clamped(os.urandom(32) if private is None else private)
        self._exchange = X25519PrivateKey.from_private_bytes(self.private)
        self.public = self._exchange.public_key().public_bytes_raw()

    def dh(self, public: bytes) -> bytes:
        """The secret shared with the owner of `public`.

        Raises: ValueError, if that is no usable public key.
        """
        return self._exchange.exchange(X25519PublicKey.from_public_bytes(public))

    def sign(self, message: bytes) -> bytes:
        """Sign with XEdDSA: 64 bytes that `verify` accepts for the public key."""
        point = sodium.crypto_scalarmult_ed25519_base_noclamp(self.private)
        scalar = _reduced(self.private)
        if point[31] & SIGN_BIT:
            scalar = sodium.crypto_core_ed25519_scalar_negate(scalar)
        edwards = _with_sign(point, 0)
        nonce = _hashed(NONCE_PREFIX, scalar, message, os.urandom(64))
        commitment = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = _hashed(commitment, edwards, message)
        answer = sodium.crypto_core_ed25519_scalar_mul(challenge, scalar)
        return commitment + sodium.crypto_core_ed25519_scalar_add(answer, nonce)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether the owner of the X25519 key `public` signed `message`.

    The sign bit of the Edwards key may travel in the last byte of the signature: libsignal's
    older form, which whatsmeow writes. XEdDSA itself leaves it 0, so both are accepted.
    """
    edwards = edwards_form(public)
    if edwards is None or len(signature) != 64:
        return False
    key = Ed25519PublicKey.from_public_bytes(_with_sign(edwards, signature[63] & SIGN_BIT))
    try:
        key.verify(_with_sign(signature, 0), message)
    except InvalidSignature:
        return False
    return True


def edwards_form(public: bytes) -> bytes | None:
    """The Ed25519 key of sign 0 that belongs to an X25519 key: y = (u - 1) / (u + 1) (XEdDSA 2.3).

    None if the key stands for no point.
    """
    u = int.from_bytes(public, "little") & (2**255 - 1)
    if len(public) != 32 or u >= FIELD_PRIME - 1:
        return None
    y = (u - 1) * pow(u + 1, -1, FIELD_PRIME) % FIELD_PRIME
    return y.to_bytes(32, "little")


def _clamped(private: bytes) -> bytes:
    """Fix the bits that every private key has fixed (RFC 7748, section 5)."""
    return bytes([private[0] & 0xF8]) + private[1:31] + bytes([private[31] & 0x7F | 0x40])


def _with_sign(value: bytes, sign: int) -> bytes:
    return value[:-1] + bytes([value[-1] & 0x7F | sign])


def _reduced(scalar: bytes) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(scalar.ljust(64, b"\0"))


def _hashed(*parts: bytes) -> bytes:
    return _reduced(hashlib.sha512(b"".join(parts)).digest())
