"""One connection to WhatsApp while it lasts: the native client and the threads it keeps busy."""

import asyncio

from whatsapp_worker.whatsapp.client import Client
from whatsapp_worker.whatsapp.threads import on_thread


class Line:
    """A client that is connected, or tries to be.

    Args:
        number: tells the events of this line from those of earlier ones.
        client: the native client; nobody else connects or stops it.
    """

    def __init__(self, number: int, client: Client) -> None:
        self.number = number
        self.client = client
        self.ended = on_thread(f"whatsapp-connect-{number}", client.connect)
        self._stopped: asyncio.Future[None] | None = None
        self._question: asyncio.Future[bool] | None = None

    def hang_up(self) -> None:
        """Have the client disconnect; `wait_ended` says when it has."""
        self._stopped = on_thread(f"whatsapp-stop-{self.number}", self.client.stop)

    async def wait_ended(self, seconds: float) -> None:
        """Wait until the native calls have returned, at most these seconds.

        After a failed pairing `connect` never does (measured).
        """
        calls = {self.ended} if self._stopped is None else {self.ended, self._stopped}
        await asyncio.wait(calls, timeout=seconds)

    def ask_connected(self) -> asyncio.Future[bool] | None:
        """Ask whether the websocket is up.

        Returns:
            The answer to come, or None while the question before is not answered: the library
            dials, and answers nothing meanwhile.
        """
        if self._question is not None and not self._question.done():
            return None
        self._question = on_thread(f"whatsapp-poll-{self.number}", self.client.is_connected)
        return self._question
