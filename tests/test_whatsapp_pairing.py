"""Notices, the board, what is drawn, and codes for the phone."""

import asyncio
import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.fakes_whatsapp import FakeClient, running, until
from whatsapp_worker.settings import QrMode
from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import NativeError
from whatsapp_worker.whatsapp.line import Line
from whatsapp_worker.whatsapp.pairing import Board, Notice, draw
from whatsapp_worker.whatsapp.pairing_desk import PairingDesk, canvas
from whatsapp_worker.whatsapp.pairing_screen import Screen
from whatsapp_worker.whatsapp.states import Status, WhatsAppState

QR = "https://wa.me/settings/linked_devices#2@abc,def,ghi,jkl,1"
PAIRING = Status(WhatsAppState.PAIRING, "no phone is linked")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def notice(**values: Any) -> Notice:
    return replace(Notice(WhatsAppState.PAIRING, "scan", QR), **values)


# Notices ------------------------------------------------------------------------------------------


def test_a_notice_survives_the_socket() -> None:
    full = notice(phone_code="ABCD-1234", expires_at=1700000000.5)

    assert Notice.from_line(full.to_line()) == full
    assert full.to_line().count(b"\n") == 1


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"null", b"{}", b"nonsense", b'{"state": "x", "why": ""}', b'{"qr": 1}']
)
def test_what_is_no_notice_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Notice.from_line(line)


def test_printing_a_notice_shows_no_code() -> None:
    shown = repr(notice(phone_code="ABCD-1234"))

    assert "wa.me" not in shown
    assert "ABCD" not in shown


def test_seconds_left_never_fall_below_zero() -> None:
    assert notice(expires_at=time.time() - 100).seconds_left() == 0
    assert notice().seconds_left() == 0
    assert 58 <= notice(expires_at=time.time() + 60).seconds_left() <= 60


async def test_the_board_shows_the_newest_notice_to_everyone() -> None:
    first, second, third = notice(qr="1"), notice(qr="2"), notice(qr="3")
    board = Board(first)

    assert await board.after(None) is first
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(board.after(first)) for _ in range(3)]
        await asyncio.sleep(0)
        board.post(second)
        board.post(third)

    assert [await task for task in waiting] == [third, third, third]


# Drawing ------------------------------------------------------------------------------------------


def test_a_drawing_is_a_qr_code_that_fits_a_terminal() -> None:
    out = io.StringIO()
    draw(notice(), out)

    drawn = [line for line in out.getvalue().splitlines() if "\u2588" in line]
    assert len(drawn) > 15
    assert max(map(len, drawn)) <= 80
    assert QR not in out.getvalue()


def test_a_stream_without_unicode_gets_a_drawing_of_spaces() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    draw(notice(), out)

    assert raw.getvalue().count(b"\x1b[") > 100


def test_without_a_code_nothing_is_drawn() -> None:
    out = io.StringIO()
    draw(notice(qr=None), out)

    assert out.getvalue() == ""


def test_a_code_to_type_is_written_below() -> None:
    out = io.StringIO()
    draw(notice(phone_code="ABCD-1234"), out)

    assert "ABCD-1234" in out.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("mode", "terminal", "draws"),
    [
        (QrMode.AUTO, True, True),
        (QrMode.AUTO, False, False),
        (QrMode.STDOUT, True, True),
        (QrMode.STDOUT, False, True),
        (QrMode.OFF, True, False),
        (QrMode.OFF, False, False),
    ],
)
def test_run_draws_only_where_it_may(mode: QrMode, terminal: bool, draws: bool) -> None:
    out = Terminal() if terminal else io.StringIO()
    assert canvas(mode, out) is (out if draws else None)


# The screen of `pair` -----------------------------------------------------------------------------


def test_a_terminal_shows_one_code_at_a_time_and_counts_down() -> None:
    out = Terminal()
    screen = Screen(out)
    assert screen.tick_seconds is None
    screen.show(notice(expires_at=time.time() + 20))
    assert screen.tick_seconds == 1.0
    screen.tick()

    written = out.getvalue()
    assert written.startswith("\x1b[H\x1b[2J")
    assert len(re.findall(r"\r\x1b\[Kvalid for (20|19) s", written)) == 2


def test_any_other_stream_gets_plain_lines() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show(notice(expires_at=time.time() + 20))
    screen.show(Notice(WhatsAppState.STARTING, "paired, logging in"))
    screen.show(Notice(WhatsAppState.ONLINE, "logged in"))

    assert screen.tick_seconds is None
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().splitlines()[-2:] == [
        "starting: paired, logging in",
        "Paired: the session is online.",
    ]


def test_without_a_notice_there_is_nothing_to_count() -> None:
    out = io.StringIO()
    Screen(out).tick()

    assert out.getvalue() == ""


# The desk -----------------------------------------------------------------------------------------


def line(client: FakeClient) -> Line:
    client.ended.set()
    return Line(1, client)


def silent_client() -> FakeClient:
    return FakeClient("test", lambda _: None)


async def test_a_phone_code_is_asked_once_for_a_round_and_shown_with_every_qr_code() -> None:
    client, out = silent_client(), io.StringIO()
    desk, number = PairingDesk("5511999990000", out, PAIRING), line(client)
    desk.new_code(number, PAIRING, events.CodeShown("one", 60))
    await until(lambda: desk.board.notice.phone_code == "ABCD-1234")
    desk.new_code(number, PAIRING, events.CodeShown("two", 20))

    assert (desk.board.notice.qr, desk.board.notice.phone_code) == ("two", "ABCD-1234")
    assert client.phones == ["5511999990000"]
    assert "ABCD-1234" in out.getvalue()


async def test_another_phone_gets_a_code_of_its_own() -> None:
    client = silent_client()
    desk, number = PairingDesk("5511999990000", None, PAIRING), line(client)
    desk.want("5511888880000", number)
    assert client.phones == []  # No code is shown: the library could not give one.
    desk.new_code(number, PAIRING, events.CodeShown("one", 60))
    await until(lambda: desk.board.notice.phone_code)
    desk.want(None, number)
    desk.want("5511777770000", number)
    await until(lambda: len(client.phones) == 2)

    assert client.phones == ["5511888880000", "5511777770000"]


async def test_a_code_that_comes_after_its_round_is_not_shown() -> None:
    client = silent_client()
    desk = PairingDesk("5511999990000", None, PAIRING)
    desk.new_code(line(client), PAIRING, events.CodeShown("one", 60))
    desk.no_code(PAIRING)
    await until(lambda: client.phones)
    await asyncio.sleep(0.01)

    assert desk.board.notice.phone_code is None


async def test_a_refused_phone_code_leaves_the_qr_code(caplog: pytest.LogCaptureFixture) -> None:
    client = silent_client()
    client.refusal = NativeError("bad request for 5511999990000@s.whatsapp.net")
    desk = PairingDesk("5511999990000", None, PAIRING)
    desk.new_code(line(client), PAIRING, events.CodeShown("one", 60))
    await until(lambda: "no code for the phone" in caplog.text)

    assert desk.board.notice.qr == "one"
    assert "551199" not in caplog.text


async def test_a_person_names_the_phone_while_codes_are_shown(tmp_path: Path) -> None:
    async with running(tmp_path, whatsapp_pair_phone=SecretStr("+5511999990000")) as around:
        client = await around.dialled(1)
        client.say(events.CodeShown("one", 60))
        await until(lambda: len(client.phones) == 1)
        around.whatsapp.ask("5511888880000")
        await until(lambda: len(client.phones) == 2)

    assert client.phones == ["5511999990000", "5511888880000"]
