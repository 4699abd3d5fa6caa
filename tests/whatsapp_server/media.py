"""Attachments: the media host, where clients put encrypted files and fetch them from."""

from pathlib import PurePosixPath

from aiohttp import web

from tests.whatsapp_server.installed import e2e
from tests.whatsapp_server.media_crypto import Encrypted, Media, decrypt
from tests.whatsapp_server.people import Letter
from tests.whatsapp_server.rulebook import Rulebook
from tests.whatsapp_server.world import MEDIA_HOST

FOLDER = PurePosixPath("/files")


class MediaHost:
    """Keeps encrypted files by their path."""

    def __init__(self, rules: Rulebook) -> None:
        self._rules = rules
        self._files: dict[str, bytes] = {}

    def routes(self) -> list[web.RouteDef]:
        """What it answers; the paths of uploads are whatsmeow's (measured)."""
        return [
            web.post("/mms/{kind}/{token}", self._upload),
            web.get(f"{FOLDER}/{{token}}", self._download),
        ]

    def attachment(self, letter: Letter) -> bytes:
        """The file that came with a letter, decrypted and checked.

        Raises:
            ValueError: it has none.
            Damaged: it is not the file its message describes.
        """
        if letter.kind not in set(Media):
            raise ValueError(f"a letter of kind {letter.kind!r} has no attachment")
        part = getattr(e2e.Message.FromString(letter.content), letter.kind)
        sealed = Encrypted(
            file=self._files[part.directPath],
            media_key=part.mediaKey,
            file_sha256=part.fileSHA256,
            file_enc_sha256=part.fileEncSHA256,
        )
        return decrypt(Media(letter.kind), sealed)

    async def _upload(self, request: web.Request) -> web.Response:
        content = await request.read()
        if effect := self._rules.on_upload():
            return web.Response(status=effect.status)
        path = str(FOLDER / request.match_info["token"].rstrip("="))
        self._files[path] = content
        url = f"https://{MEDIA_HOST}{path}"
        return web.json_response({"url": url, "direct_path": path, "handle": "test"})

    async def _download(self, request: web.Request) -> web.Response:
        content = self._files.get(request.path)
        return web.Response(status=404) if content is None else web.Response(body=content)
