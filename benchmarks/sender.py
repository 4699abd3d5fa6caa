"""A process that sends what it is told to, through the library alone or through our adapter.

Run as `python -m benchmarks.sender (bare|adapter) DIRECTORY`; `subjects.Sending` is its other side.
Each line in is a JSON list, a text and to whom it is sent; each line out an object: a `code` to be
scanned, `online`, or the `seconds` that each send took.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any, TextIO
from uuid import UUID

from neonize import client as neonize
from neonize import events as neonize_events
from neonize.proto.Neonize_pb2 import JID
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message
from pydantic import SecretStr

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.settings import Settings
from whatsapp_worker.whatsapp import NeonizeWhatsApp

SOMEBODY = str(UUID(int=1))

Tell = Callable[[str, object], None]


class Bare:
    """The library's own client on a thread, and nothing of ours.

    Args:
        directory: takes the session database.
        proxy: the way to WhatsApp.
        tell: what its user has to know.
    """

    def __init__(self, directory: Path, proxy: str, tell: Tell) -> None:
        self._client: Any = neonize.NewClient(str(directory / "session.db"), uuid="bare")
        self._online = Event()
        self._client.event.qr(lambda _, code: tell("code", code.decode()))
        self._client.event(neonize_events.ConnectedEv)(lambda *_: self._online.set())
        way = neonize.ProxySettings(proxy)
        Thread(target=self._client.connect, args=(way,), daemon=True).start()

    def run(self, tell: Tell) -> None:
        """Send to everybody on each line."""
        self._online.wait()
        tell("online", True)
        for line in sys.stdin:
            text, *numbers = json.loads(line)
            tell("seconds", [self._send(number, text) for number in numbers])

    def _send(self, number: str, text: str) -> float:
        to = JID(
            User=number, Server="s.whatsapp.net", Device=0, RawAgent=0, Integrator=0, IsEmpty=False
        )
        begun = perf_counter()
        self._client.send_message(to, Message(conversation=text))
        return perf_counter() - begun


class Adapter:
    """`NeonizeWhatsApp`, as the daemon uses it.

    Args:
        directory: takes the session database.
        proxy: the way to WhatsApp.
    """

    def __init__(self, directory: Path, proxy: str) -> None:
        settings = Settings(whatsapp_session_path=directory, whatsapp_proxy_url=SecretStr(proxy))
        self._online = asyncio.Event()
        self._whatsapp = NeonizeWhatsApp(
            settings, self._report, lambda: os._exit(os.EX_TEMPFAIL), lambda _: None, sys.stderr
        )

    async def run(self, tell: Tell) -> None:
        """Send to everybody on each line."""
        async with asyncio.TaskGroup() as tasks:
            session = tasks.create_task(self._whatsapp.run())
            await self._online.wait()
            tell("online", True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                text, *numbers = json.loads(line)
                tell("seconds", [await self._send(number, text) for number in numbers])
            session.cancel()

    async def _send(self, number: str, text: str) -> float:
        fields = {"user_id": SOMEBODY, "text_message": text, "destination": f"+{number}"}
        envelope = WhatsAppEnvelope.model_validate(fields)
        begun = perf_counter()
        await self._whatsapp.send(envelope)
        return perf_counter() - begun

    def _report(self, reason: PauseReason, detail: str | None) -> None:
        if detail is None:
            self._online.set()


def main(kind: str, directory: Path, out: TextIO) -> None:
    """Do as told until the input ends."""

    def tell(name: str, value: object) -> None:
        out.write(json.dumps({name: value}) + "\n")

    proxy = os.environ["WHATSAPP_PROXY_URL"]
    if kind == "bare":
        Bare(directory, proxy, tell).run(tell)
    else:
        asyncio.run(Adapter(directory, proxy).run(tell))


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # The library prints, too.
    try:
        main(sys.argv[1], Path(sys.argv[2]), own_output)
    except Exception:  # noqa: BLE001  Whatever it is: threads of the library would keep us here.
        traceback.print_exc()
        os._exit(os.EX_SOFTWARE)
    os._exit(os.EX_OK)
