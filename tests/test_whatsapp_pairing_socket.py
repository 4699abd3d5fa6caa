"""The unix socket between a running worker and `whatsapp-worker pair`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes_whatsapp import until
from whatsapp_worker.whatsapp import pairing_socket
from whatsapp_worker.whatsapp.pairing import Board, Notice
from whatsapp_worker.whatsapp.states import WhatsAppState

FIRST = Notice(WhatsAppState.PAIRING, "scan", qr="one")
SECOND = Notice(WhatsAppState.ONLINE, "logged in")


@asynccontextmanager
async def serving(path: Path, board: Board, asked: list[str | None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(pairing_socket.serve(path, board, asked.append))
        await until(path.is_socket)
        yield
        server.cancel()


async def test_a_client_asks_and_reads_every_change(tmp_path: Path) -> None:
    path, board, asked = tmp_path / "pair.sock", Board(FIRST), list[str | None]()
    async with serving(path, board, asked):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(pairing_socket.request("5511999990000"))

        assert Notice.from_line(await reader.readline()) == FIRST
        board.post(SECOND)
        assert Notice.from_line(await reader.readline()) == SECOND
        assert asked == ["5511999990000"]
        writer.close()
        await writer.wait_closed()


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "pair.sock"
    async with serving(path, Board(FIRST), []):
        assert path.stat().st_mode & 0o777 == 0o600

    assert not path.exists()


async def test_a_socket_left_by_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pair.sock"
    with pairing_socket._listening(path):
        path.rename(tmp_path / "left.sock")
    (tmp_path / "left.sock").rename(path)
    asked = list[str | None]()
    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(pairing_socket.serve(path, Board(FIRST), asked.append))
        for _ in range(1000):
            try:
                _, writer = await asyncio.open_unix_connection(str(path))
            except OSError:
                await asyncio.sleep(0.001)
            else:
                break
        writer.write(pairing_socket.request(None))
        await until(lambda: asked == [None])
        writer.close()
        server.cancel()


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"phone": 5511}\n',
        b'{"phone": "+5511"}\n',
        b'{"phone": ""}\n',
        json.dumps({"phone": "\u0663"}).encode() + b"\n",
        b"\xff\n",
    ],
)
async def test_what_is_no_request_is_hung_up_on(request_line: bytes, tmp_path: Path) -> None:
    path, asked = tmp_path / "pair.sock", list[str | None]()
    async with serving(path, Board(FIRST), asked):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(request_line)
        writer.write_eof()

        assert await reader.read() == b""
        writer.close()
        assert asked == []
        await _still_serves(path)


async def test_a_client_that_says_nothing_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing_socket, "_REQUEST_SECONDS", 0.01)
    path = tmp_path / "pair.sock"
    async with serving(path, Board(FIRST), []):
        reader, writer = await asyncio.open_unix_connection(str(path))

        assert await reader.read() == b""
        writer.close()


async def test_clients_that_leave_do_not_disturb_the_others(tmp_path: Path) -> None:
    path, board = tmp_path / "pair.sock", Board(FIRST)
    async with serving(path, board, []):
        for _ in range(5):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(pairing_socket.request(None))
            await reader.readline()
            writer.transport.abort()
        for number in range(200):
            board.post(Notice(WhatsAppState.PAIRING, "scan", qr=str(number)))
            await asyncio.sleep(0)
        await _still_serves(path)


async def _still_serves(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(pairing_socket.request(None))
    assert await reader.readline()
    writer.close()
    await writer.wait_closed()
