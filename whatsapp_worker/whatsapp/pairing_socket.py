"""The unix socket on which a running worker shows its pairing codes to `whatsapp-worker pair`.

The client writes one line, `{"phone": "<digits>" | null}`, and then reads a line of JSON for every
change (`pairing.Notice`).  Only the owner of the session may connect (0600 in a 0700 directory).
"""

import asyncio
import json
import logging
import socket
from asyncio import StreamReader, StreamWriter, TaskGroup
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whatsapp_worker.whatsapp.pairing import Board

log = logging.getLogger(__name__)

_REQUEST_SECONDS = 5.0


def request(phone: str | None) -> bytes:
    """The line a client begins with.

    Args:
        phone: the number (digits) of the phone to pair by a typed code, or None for a QR code.
    """
    return json.dumps({"phone": phone}).encode() + b"\n"


async def serve(path: Path, board: Board, ask: Callable[[str | None], None]) -> None:
    """Answer clients until cancelled.

    Args:
        path: where the socket is; one left over is replaced, because the session is ours alone.
        board: what is shown.
        ask: called for each client with the phone number it wants to pair, or None.
    """
    loop = asyncio.get_running_loop()
    with _listening(path) as listener:
        async with TaskGroup() as tasks:
            while True:
                connection, _ = await loop.sock_accept(listener)
                tasks.create_task(_answer(connection, board, ask))


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    draft = path.with_suffix(".new")  # A path that is there can be connected to, by its owner only.
    draft.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen()
        draft.replace(path)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


async def _answer(
    connection: socket.socket, board: Board, ask: Callable[[str | None], None]
) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            ask(_phone(await reader.readline()))
        await _show(board, reader, writer)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError.
        log.info("a pairing client left: %s", type(error).__name__)
    finally:
        writer.close()


def _phone(line: bytes) -> str | None:
    """The number a request names; raises ValueError for anything that is no request."""
    wanted = json.loads(line)
    phone = wanted.get("phone") if isinstance(wanted, dict) else ""
    if phone is not None and not (isinstance(phone, str) and phone.isascii() and phone.isdigit()):
        raise ValueError("not a pairing request")
    return phone


async def _show(board: Board, reader: StreamReader, writer: StreamWriter) -> None:
    """Write every change until the client hangs up."""

    async def write() -> None:
        seen = None
        while True:
            seen = await board.after(seen)
            writer.write(seen.to_line())
            await writer.drain()

    try:
        async with TaskGroup() as tasks:
            writing = tasks.create_task(write())
            await reader.read()
            writing.cancel()
    except* OSError:
        log.info("a pairing client left without a word")
