"""Attachments: the daemon sends none yet, and its table of failures knows them already."""

from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.probing import probe
from tests.acceptance.rig import Rig
from tests.whatsapp_server.media_crypto import Media
from tests.whatsapp_server.rules import Answer, ErrorReply, OnQuery, OnUpload, Query, Silence
from whatsapp_worker.errors import ErrorType, Throttled, Transient

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


@pytest.fixture
def files(tmp_path: Path) -> dict[Media, Path]:
    """An attachment of each kind."""
    image, document = tmp_path / "picture.png", tmp_path / "invoice.pdf"
    Image.new("RGB", (64, 48), "teal").save(image)
    document.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 400)
    return {Media.IMAGE: image, Media.DOCUMENT: document}


async def test_attachments_arrive_as_they_were_sent(rig: Rig, files: dict[Media, Path]) -> None:
    to = rig.contact(devices=2)
    async with probe(rig) as library:
        await library.online(rig)
        for media, file in files.items():
            command = media.removesuffix("Message")
            assert await library.ask(command, to.number, str(file), file.name) is None
    for media, file in files.items():
        letters = [letter for letter in to.inbox if letter.kind == media]
        assert [(letter.device, letter.text) for letter in letters] == [
            (0, file.name),
            (1, file.name),
        ]
        for letter in letters:
            assert rig.server.attachment(letter) == file.read_bytes()


async def test_a_failed_upload_is_tried_again(rig: Rig, files: dict[Media, Path]) -> None:
    to, document = rig.contact(), files[Media.DOCUMENT]
    rules = rig.server.rules
    async with probe(rig) as library:
        await library.online(rig)
        rule = rules.add(OnQuery(Query.MEDIA_CONN, ErrorReply(429, "rate-overlimit")))
        found = await library.ask("document", to.number, str(document), "")
        assert isinstance(found, Throttled)
        rules.remove(rule)
        for status in (401, 403, 413, 500):
            rule = rules.add(OnUpload(Answer(status)))
            found = await library.ask("document", to.number, str(document), "")
            assert isinstance(found, Transient), status
            assert found.error_type is ErrorType.SERVER_ERROR
            assert rule.applied
            rules.remove(rule)
        assert await library.ask("document", to.number, str(document), "mended") is None
    assert to.texts == ["mended"]


@pytest.mark.timeout(180)
async def test_an_upload_server_that_is_never_named_is_asked_for_again(
    rig: Rig, files: dict[Media, Path]
) -> None:
    to, document = rig.contact(), files[Media.DOCUMENT]
    async with probe(rig) as library:
        await library.online(rig)
        rig.server.rules.add(OnQuery(Query.MEDIA_CONN, Silence()), times=1)
        found = await library.ask("document", to.number, str(document), "")
        assert isinstance(found, Transient)
        assert found.error_type is ErrorType.NETWORK
        assert await library.ask("document", to.number, str(document), "at last") is None
    assert to.texts == ["at last"]
