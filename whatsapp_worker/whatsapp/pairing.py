"""What a person who links a phone has to see, and how it is drawn."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TextIO

import segno
from pydantic import TypeAdapter

from whatsapp_worker.whatsapp.states import WhatsAppState


@dataclass(frozen=True, slots=True)
class Notice:
    """Where the session stands, with the code of the moment.  Printing it shows no code.

    Attributes:
        state, why: as in `states.Status`.
        qr: what the QR code says; a login secret, for eyes only.
        phone_code: what to type on the phone instead; as secret.
        expires_at: when the QR code ends, in Unix seconds.
    """

    state: WhatsAppState
    why: str
    qr: str | None = field(default=None, repr=False)
    phone_code: str | None = field(default=None, repr=False)
    expires_at: float | None = None

    def seconds_left(self) -> int:
        """Whole seconds for which the QR code is still valid."""
        return max(0, round((self.expires_at or 0.0) - time.time()))

    def to_line(self) -> bytes:
        """One line of JSON, for the pairing socket."""
        return _NOTICE.dump_json(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Notice":
        """Read what `to_line` wrote; raises ValueError for anything else."""
        return _NOTICE.validate_json(line)


_NOTICE = TypeAdapter(Notice)


class Board:
    """Shows the newest notice to everyone who watches; what was overtaken is not kept."""

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self._changed = asyncio.Event()

    def post(self, notice: Notice) -> None:
        """Show a new notice."""
        self.notice = notice
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, seen: Notice | None) -> Notice:
        """The newest notice, as soon as it is another than `seen`; may be cancelled freely."""
        while self.notice is seen:
            await self._changed.wait()
        return self.notice


def draw(notice: Notice, out: TextIO) -> None:
    """Draw the code of a notice on a terminal of at least 70 columns; nothing if it has none."""
    if notice.qr is None:
        return
    out.write("\nLink a phone: WhatsApp > Settings > Linked devices > Link a device, and scan\n\n")
    compact = (out.encoding or "utf-8").lower().startswith("utf")
    segno.make_qr(notice.qr, error="l").terminal(out=out, border=2, compact=compact)
    if notice.phone_code is not None:
        out.write(f"\nor choose 'Link with phone number' and type  {notice.phone_code}\n")
    out.flush()
