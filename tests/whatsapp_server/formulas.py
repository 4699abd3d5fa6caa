"""What specifications say, written down a second time for tests to compare with."""

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256 as RFC 5869, section 2, has it; an empty salt is 32 zero bytes."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    block, output = b"", b""
    for number in range(1, 1 + -(-size // 32)):
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        output += block
    return output[:size]


def dh(private: X25519PrivateKey, public: bytes) -> bytes:
    """X25519 (RFC 7748)."""
    return private.exchange(X25519PublicKey.from_public_bytes(public))


def public(private: X25519PrivateKey) -> bytes:
    """The public key as 32 bytes."""
    return private.public_key().public_bytes_raw()
