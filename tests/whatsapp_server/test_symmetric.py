"""HKDF by the vectors of its RFC; AES-CBC against damage."""

import os

import pytest

from tests.whatsapp_server import formulas
from tests.whatsapp_server.symmetric import decrypt_cbc, encrypt_cbc, hkdf

# RFC 5869, appendix A.1 to A.3: secret, salt, info, output.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c6"
        "5e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "output"), RFC_5869)
def test_keys_are_derived_as_the_rfc_says(secret: str, salt: str, info: str, output: str) -> None:
    key, salted, about, expected = (bytes.fromhex(each) for each in (secret, salt, info, output))
    assert hkdf(key, len(expected), salt=salted or None, info=about) == expected
    assert formulas.hkdf(key, salted, about, len(expected)) == expected


def test_a_text_of_any_length_is_encrypted_and_decrypted() -> None:
    key, iv = os.urandom(32), os.urandom(16)
    for size in (0, 1, 15, 16, 17, 1000):
        text = os.urandom(size)
        ciphertext = encrypt_cbc(key, iv, text)
        assert len(ciphertext) == 16 * (size // 16 + 1)
        assert decrypt_cbc(key, iv, ciphertext) == text


def test_a_ciphertext_that_is_cut_off_is_refused() -> None:
    ciphertext = encrypt_cbc(bytes(32), bytes(16), b"a text of two blocks")
    for size in (0, 1, 16, 31):
        with pytest.raises(ValueError, match=r"."):
            decrypt_cbc(bytes(32), bytes(16), ciphertext[:size])
