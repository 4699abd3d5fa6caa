"""Attachments: there and back, and nothing that was damaged on the way."""

import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from tests.whatsapp_server import formulas
from tests.whatsapp_server.installed import e2e
from tests.whatsapp_server.media_crypto import Damaged, Encrypted, Media, decrypt, encrypt


@given(st.sampled_from(Media), st.binary())
def test_an_attachment_comes_back_as_it_was(media: Media, content: bytes) -> None:
    assert decrypt(media, encrypt(media, content)) == content


@pytest.mark.parametrize(
    ("media", "info"),
    [
        (Media.IMAGE, b"WhatsApp Image Keys"),
        (Media.STICKER, b"WhatsApp Image Keys"),
        (Media.VIDEO, b"WhatsApp Video Keys"),
        (Media.AUDIO, b"WhatsApp Audio Keys"),
        (Media.DOCUMENT, b"WhatsApp Document Keys"),
    ],
)
def test_a_file_is_laid_out_as_the_clients_lay_it_out(media: Media, info: bytes) -> None:
    sealed = encrypt(media, b"sixteen bytes...")
    keys = formulas.hkdf(sealed.media_key, b"", info, 112)
    iv, key, mac_key = keys[:16], keys[16:48], keys[48:80]
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(sealed.file[:-10]) + decryptor.finalize()
    assert padded == b"sixteen bytes..." + bytes([16]) * 16
    assert sealed.file[-10:] == hmac.digest(mac_key, iv + sealed.file[:-10], "sha256")[:10]
    assert sealed.file_sha256 == hashlib.sha256(b"sixteen bytes...").digest()
    assert sealed.file_enc_sha256 == hashlib.sha256(sealed.file).digest()


@pytest.mark.parametrize("media", list(Media))
def test_every_type_is_a_field_of_a_message(media: Media) -> None:
    assert media in e2e.Message.DESCRIPTOR.fields_by_name


def with_file(sealed: Encrypted, file: bytes) -> Encrypted:
    return replace(sealed, file=file, file_enc_sha256=hashlib.sha256(file).digest())


def test_a_file_that_its_own_author_cut_off_is_refused() -> None:
    sealed = encrypt(Media.IMAGE, b"a picture")
    keys = formulas.hkdf(sealed.media_key, b"", b"WhatsApp Image Keys", 112)
    ciphertext = sealed.file[:5]
    tag = hmac.digest(keys[48:80], keys[:16] + ciphertext, "sha256")[:10]
    with pytest.raises(Damaged, match="cut off"):
        decrypt(Media.IMAGE, with_file(sealed, ciphertext + tag))


def test_what_is_damaged_in_any_way_is_refused() -> None:
    sealed = encrypt(Media.IMAGE, b"a picture")
    flipped = bytes([sealed.file[0] ^ 1]) + sealed.file[1:]
    for damaged in (
        replace(sealed, file=flipped),
        with_file(sealed, flipped),
        with_file(sealed, sealed.file[:-1]),
        with_file(sealed, b""),
        replace(sealed, media_key=bytes(32)),
        replace(sealed, file_sha256=bytes(32)),
    ):
        with pytest.raises(Damaged):
            decrypt(Media.IMAGE, damaged)


def test_the_keys_of_one_type_do_not_open_another() -> None:
    with pytest.raises(Damaged):
        decrypt(Media.VIDEO, encrypt(Media.IMAGE, b"a picture"))
