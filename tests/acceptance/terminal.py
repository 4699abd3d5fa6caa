"""What a person at a terminal does: runs `whatsapp-worker pair`, and watches what it shows."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.acceptance.rig import LOGIN_SECONDS, LinkedDaemon, Rig
from tests.acceptance.screen import read_qr
from tests.support.eventually import eventually
from whatsapp_worker.demo.daemon import PASSED_ON
from whatsapp_worker.whatsapp import files, pairing_socket
from whatsapp_worker.whatsapp.pairing import Notice

_TYPED = re.compile(r"and type  (\S+)")


@dataclass(frozen=True, slots=True)
class PairCommand:
    """A run of `whatsapp-worker pair`.

    Attributes:
        process: the child process.
        output: the file that takes all it prints.
    """

    process: Process
    output: Path

    @property
    def printed(self) -> str:
        """All it printed so far."""
        return self.output.read_text(errors="replace")

    async def qr(self) -> str:
        """The code it draws, as a camera reads it."""
        found: str = await eventually(
            lambda: read_qr(self.printed), "`pair` draws a code", LOGIN_SECONDS
        )
        return found

    async def phone_code(self) -> str:
        """The code it wants to be typed on the phone."""
        found: re.Match[str] = await eventually(
            lambda: _TYPED.search(self.printed), "`pair` shows a code to type", LOGIN_SECONDS
        )
        return found[1]

    async def exit_code(self, within: float = LOGIN_SECONDS) -> int:
        """Its exit code, when it has ended."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@asynccontextmanager
async def pair_command(rig: Rig, *arguments: str) -> AsyncIterator[PairCommand]:
    """Run `whatsapp-worker pair` for the session of this test, be there a daemon or not."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    settings = {
        "RABBITMQ_URL": rig.amqp_url,
        "WHATSAPP_SESSION_PATH": str(rig.directory / "session"),
        "ENV": "production",
    }
    rig.directory.mkdir(exist_ok=True)
    output = rig.kept / f"pair-{uuid4().hex[:12]}.log"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "whatsapp_worker", "pair", *arguments),
            env={**inherited, **rig.server.environment, **settings},
            cwd=rig.kept,  # Where no developer's .env lies.
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield PairCommand(process, output)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def notices(daemon: LinkedDaemon, phone: str | None = None) -> AsyncGenerator[Notice, None]:
    """All a running daemon shows to `whatsapp-worker pair`, from now on.

    Args:
        daemon: whom to ask; it has to answer its pairing socket by now.
        phone: digits of a phone to type a code on, or None.
    """
    path = files.pairing_socket(daemon.directory / "session")
    await eventually(path.exists, "the daemon answers `pair`", LOGIN_SECONDS)
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(pairing_socket.request(phone))
        while line := await reader.readline():
            yield Notice.from_line(line)
    finally:
        writer.close()


async def ask(daemon: LinkedDaemon) -> Notice:
    """Ask as `whatsapp-worker pair` does, without the cost of a process; returns the answer."""
    async with aclosing(notices(daemon)) as told:
        return await anext(told)
