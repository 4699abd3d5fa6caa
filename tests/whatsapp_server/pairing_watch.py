"""Scans by itself what a daemon shows: the phone of somebody who watches its pairing socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from tests.whatsapp_server.pairing import NoSuchCode, NotLinked
from tests.whatsapp_server.people import Account
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.whatsapp import files, pairing_socket
from whatsapp_worker.whatsapp.pairing import Notice

RETRY_SECONDS = 0.5
"""Between two looks whether a daemon is there."""


async def link_whoever_asks(
    session: Path, server: WhatsAppServer, account: Account, say: Callable[[str], None]
) -> None:
    """Link every daemon of a session directory to an account, until cancelled.

    Args:
        session: the daemon's WHATSAPP_SESSION_PATH; it need not exist yet.
        say: told what happened.
    """
    while True:
        with suppress(OSError, ValueError):  # No daemon runs, or it ended in the middle of a line.
            async for code in _codes(files.pairing_socket(session)):
                try:
                    await server.scan(code, account)
                except (NoSuchCode, NotLinked) as error:
                    say(f"The daemon shows a code, but {error}.")
                else:
                    say("Scanned the daemon's code.")
        await asyncio.sleep(RETRY_SECONDS)


async def _codes(socket: Path) -> AsyncIterator[str]:
    """The QR codes a daemon shows, until it ends."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(pairing_socket.request(None))
        while line := await reader.readline():
            if code := Notice.from_line(line).qr:
                yield code
    finally:
        writer.close()
