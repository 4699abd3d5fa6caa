"""Agreement and XEdDSA signatures, checked by other implementations and a published signature."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings as sodium

from tests.whatsapp_server.curve import FIELD_PRIME, KeyPair, edwards_form, verify

PRIVATE = st.binary(min_size=32, max_size=32)

# The signature in libsignal's tests of Curve25519: of one public key by another.
LIBSIGNAL_PRIVATE = "c097248412e58bf05df487968205132794178e367637f5818f81e0e6ce73e865"
LIBSIGNAL_PUBLIC = "ab7e717d4a163b7d9a1d8071dfe9dcf8cdcd1cea3339b6356be84d887e322c64"
LIBSIGNAL_MESSAGE = "05edce9d9c415ca78cb7252e72c2c4a554d3eb29485a0e1d503118d1a82d99fb4a"
LIBSIGNAL_SIGNATURE = (
    "5de88ca9a89b4a115da79109c67c9c7464a3e4180274f1cb8c63c2984e286dfb"
    "ede82deb9dcd9fae0bfbb821569b3d9001bd8130cd11d486cef047bd60b86e88"
)


@given(PRIVATE, PRIVATE)
def test_two_parties_agree_on_the_secret_that_libsodium_finds(one: bytes, other: bytes) -> None:
    ours, theirs = KeyPair(one), KeyPair(other)
    assert ours.public == sodium.crypto_scalarmult_base(one)
    assert ours.dh(theirs.public) == theirs.dh(ours.public)
    assert ours.dh(theirs.public) == sodium.crypto_scalarmult(one, theirs.public)


@given(PRIVATE, st.binary())
def test_a_signature_holds_as_ed25519_under_the_converted_key(key: bytes, message: bytes) -> None:
    pair = KeyPair(key)
    signature = pair.sign(message)
    assert verify(pair.public, message, signature)
    # A second way from the private key to the Edwards key; its sign is 0 in XEdDSA.
    point = sodium.crypto_scalarmult_ed25519_base_noclamp(pair.private)
    edwards = point[:31] + bytes([point[31] & 0x7F])
    assert edwards_form(pair.public) == edwards
    Ed25519PublicKey.from_public_bytes(edwards).verify(signature, message)


@settings(max_examples=50)
@given(st.binary(min_size=1), st.integers(min_value=0), st.integers(min_value=0))
def test_nothing_that_was_signed_may_be_altered(message: bytes, where: int, bit: int) -> None:
    def altered(data: bytes) -> bytes:
        at = where % len(data)
        return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]

    pair = KeyPair()
    signature = pair.sign(message)
    assert not verify(pair.public, altered(message), signature)
    assert not verify(pair.public, message, altered(signature))
    assert not verify(KeyPair().public, message, signature)


def test_libsignals_own_signature_with_the_sign_in_its_last_bit_holds() -> None:
    public, message, signature = (
        bytes.fromhex(each) for each in (LIBSIGNAL_PUBLIC, LIBSIGNAL_MESSAGE, LIBSIGNAL_SIGNATURE)
    )
    assert KeyPair(bytes.fromhex(LIBSIGNAL_PRIVATE)).public == public
    assert signature[63] & 0x80
    assert verify(public, message, signature)
    assert not verify(public, message + b"!", signature)


def test_each_signature_of_one_message_is_another() -> None:
    pair = KeyPair()
    assert len({pair.sign(b"once") for _ in range(5)}) == 5


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        bytes(33),
        *(n.to_bytes(32, "little") for n in (FIELD_PRIME - 1, FIELD_PRIME)),
    ],
)
def test_a_key_that_stands_for_no_point_verifies_nothing(public: bytes) -> None:
    assert not verify(public, b"message", KeyPair().sign(b"message"))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_the_wrong_length_is_refused(size: int) -> None:
    pair = KeyPair()
    assert not verify(pair.public, b"message", pair.sign(b"message").ljust(65, b"\0")[:size])


def test_a_public_key_of_small_order_agrees_on_nothing() -> None:
    with pytest.raises(ValueError, match=r"."):
        KeyPair().dh(bytes(32))


def test_a_signature_is_refused_by_ed25519_itself_for_another_message() -> None:
    pair = KeyPair()
    edwards = edwards_form(pair.public)
    assert edwards is not None
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(edwards).verify(pair.sign(b"one"), b"other")
