"""The library alone in a process, told what to do line by line: for what the daemon never does.

Run as `python -m tests.acceptance.probe DATABASE PROXY`; `probing` is its other side.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Thread
from typing import TextIO

from neonize.exc import NeonizeError
from neonize.proto.Neonize_pb2 import JID

from whatsapp_worker.whatsapp.client import NativeError
from whatsapp_worker.whatsapp.events import Event
from whatsapp_worker.whatsapp.native import NeonizeClient


class Library:
    """One client; the connection lives on a thread of its own.

    Args:
        database: of its session.
        proxy: its way to WhatsApp.
        out: told what happens, one JSON object a line: events by their names, and the words of the
            library about each command's failure, empty for none.
    """

    def __init__(self, database: Path, proxy: str, out: TextIO) -> None:
        self._out = out
        self._client = NeonizeClient("probe", database, proxy, self._heard)

    def do(self, command: str, *given: str) -> None:
        """Follow a command; they are `probing.Probe.ask`'s."""
        try:
            match command:
                case "connect":
                    Thread(target=self._client.connect, daemon=True).start()
                case "stop":
                    self._client.stop()
                case "text":
                    number, text = given
                    self._client.send_text(number, text)
                case _:
                    self._attach(command, *given)
        except (NativeError, NeonizeError) as error:
            self._tell("words", str(error))
        else:
            self._tell("words", "")

    def _attach(self, kind: str, number: str, file: str, caption: str) -> None:
        native = self._client._client
        send = {"image": native.send_image, "document": native.send_document}[kind]
        to = JID(
            User=number, Server="s.whatsapp.net", Device=0, RawAgent=0, Integrator=0, IsEmpty=False
        )
        send(to, file, caption)

    def _heard(self, event: Event) -> None:
        self._tell(type(event).__name__, asdict(event))

    def _tell(self, name: str, value: object) -> None:
        self._out.write(json.dumps({name: value}) + "\n")


def main() -> None:
    """Follow commands until there are no more."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # The library prints, too.
    database, proxy = sys.argv[1:]
    library = Library(Path(database), proxy, out)
    for line in sys.stdin:
        library.do(*json.loads(line))
    os._exit(0)  # Threads of the library may still run.


if __name__ == "__main__":
    main()
