"""The other side of `probe`: what the library says about a failure, and what that means for us."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.rig import Rig
from whatsapp_worker.errors import JobError, Unavailable
from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.failures import send_failure

ANSWER_SECONDS = 150.0
"""How long an answer may take; the library itself gives up after 75 s (measured)."""


class Probe:
    """A process with the library in it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._unread: list[dict[str, Any]] = []

    async def ask(self, *command: str) -> JobError | Unavailable | None:
        """Have something done; returns what the library's words about its failure mean.

        Args:
            command: `connect`, `stop`, `text NUMBER TEXT`, `image NUMBER FILE CAPTION` or
                `document NUMBER FILE CAPTION`.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        words = await self._next("words")
        return send_failure(words) if words else None

    async def hears(self, event: type[events.Event]) -> dict[str, Any]:
        """Return the fields of the next event of this kind."""
        fields: dict[str, Any] = await self._next(event.__name__)
        return fields

    async def online(self, rig: Rig) -> None:
        """Connect, and link it if nobody has."""
        await self.ask("connect")
        if not rig.server.devices:
            code = await self.hears(events.CodeShown)
            await rig.server.scan(code["qr"], rig.owner)
        await self.hears(events.Online)

    async def _next(self, name: str) -> Any:  # What it is depends on the name.
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_SECONDS):
            while not (found := next((each for each in self._unread if name in each), None)):
                line = await self._process.stdout.readline()
                assert line, "the probe has ended"
                self._unread.append(json.loads(line))
        self._unread.remove(found)
        return found[name]


@asynccontextmanager
async def probe(rig: Rig) -> AsyncIterator[Probe]:
    """Run the library; run it again and it finds its session."""
    environment = {"PATH": os.environ["PATH"], **rig.server.environment, "NEONIZE_BOT_TAG": "off"}
    # What it prints names people: for whoever looks for the cause of a failure, and nobody else.
    with (rig.directory / "probe.txt").open("ab") as noise:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.acceptance.probe"),
            *(str(rig.directory / "probe.db"), rig.server.proxy_url),
            env=environment,
            cwd=Path(__file__).parents[2],
            stdin=PIPE,
            stdout=PIPE,
            stderr=noise,
        )
    try:
        yield Probe(process)
    finally:
        process.kill()
        await process.communicate()
