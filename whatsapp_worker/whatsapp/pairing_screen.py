"""What `whatsapp-worker pair` writes: codes, a countdown, and how it ends."""

from typing import TextIO

from whatsapp_worker.whatsapp.pairing import Notice, draw
from whatsapp_worker.whatsapp.states import WhatsAppState

_CLEAR = "\x1b[H\x1b[2J"
_ERASE_LINE = "\r\x1b[K"


class Screen:
    """A terminal, where codes replace each other and seconds are counted, or any text stream.

    Args:
        out: where everything is written.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._notice: Notice | None = None

    @property
    def tick_seconds(self) -> float | None:
        """How often `tick` wants to be called; None for never."""
        shows_code = self._notice is not None and self._notice.qr is not None
        return 1.0 if self._terminal and shows_code else None

    def show(self, notice: Notice) -> None:
        """Show a notice: its code, or where the session stands."""
        self._notice = notice
        if notice.qr is not None:
            self._out.write(_CLEAR if self._terminal else "")
            draw(notice, self._out)
            self.tick()
        elif notice.state is WhatsAppState.ONLINE:
            self.say("Paired: the session is online.")
        else:
            self.say(f"{notice.state}: {notice.why}")

    def tick(self) -> None:
        """Say how long the code is still valid."""
        if self._notice is not None:
            text = f"valid for {self._notice.seconds_left()} s"
            self._out.write(_ERASE_LINE + text if self._terminal else f"({text})\n")
            self._out.flush()

    def say(self, text: str) -> None:
        """Write one line."""
        self._out.write((_ERASE_LINE if self._terminal else "") + text + "\n")
        self._out.flush()
