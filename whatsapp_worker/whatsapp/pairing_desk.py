"""Keeps the notices for whoever links a phone up to date, and draws codes where `run` may."""

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial
from typing import TextIO

from whatsapp_worker.masking import mask
from whatsapp_worker.settings import QrMode
from whatsapp_worker.whatsapp.events import CodeShown
from whatsapp_worker.whatsapp.line import Line
from whatsapp_worker.whatsapp.pairing import Board, Notice, draw
from whatsapp_worker.whatsapp.states import Status
from whatsapp_worker.whatsapp.threads import on_thread

log = logging.getLogger(__name__)


def canvas(mode: QrMode, out: TextIO) -> TextIO | None:
    """Where `run` draws codes: nowhere in a log collector's stream, unless it is wanted."""
    wanted = mode is QrMode.STDOUT or (mode is QrMode.AUTO and out.isatty())
    return out if wanted else None


class PairingDesk:
    """Knows the codes of the moment.

    Args:
        phone: digits of the phone that pairs by a typed code, or None for QR codes only.
        out: where codes are drawn, or None.
        status: where the session stands at first.
    """

    def __init__(self, phone: str | None, out: TextIO | None, status: Status) -> None:
        self.board = Board(Notice(status.state, status.why))
        self._phone = phone
        self._out = out
        self._asked: tuple[Line, str] | None = None  # For which line and phone a code was asked.

    def no_code(self, status: Status) -> None:
        """The session has moved on; codes shown so far are void."""
        self._asked = None
        self.board.post(Notice(status.state, status.why))

    def new_code(self, line: Line, status: Status, code: CodeShown) -> None:
        """WhatsApp gave another QR code; a code for the phone lives as long as the line."""
        phone_code = self.board.notice.phone_code
        expires_at = time.time() + code.seconds
        self._show(Notice(status.state, status.why, code.qr, phone_code, expires_at))
        self._ask_phone_code(line)

    def want(self, phone: str | None, line: Line | None) -> None:
        """A person asked for a code to type on this phone (digits); now, if codes are shown."""
        self._phone = phone or self._phone
        if line is not None and self.board.notice.qr is not None:
            self._ask_phone_code(line)

    def _ask_phone_code(self, line: Line) -> None:
        phone = self._phone
        if phone is None or self._asked == (line, phone):
            return
        self._asked = (line, phone)
        answer = on_thread("whatsapp-pair-phone", lambda: line.client.pair_phone(phone))
        answer.add_done_callback(partial(self._phone_code, self._asked))

    def _phone_code(self, asked: tuple[Line, str], answer: asyncio.Future[str]) -> None:
        if self._asked != asked or answer.cancelled():
            return
        if error := answer.exception():
            log.warning("WhatsApp gave no code for the phone: %s", mask(str(error)))
        else:
            self._show(replace(self.board.notice, phone_code=answer.result()))

    def _show(self, notice: Notice) -> None:
        self.board.post(notice)
        if self._out is not None:
            draw(notice, self._out)
