"""The WhatsApp account of this process: the session's states to the outside, and sending."""

import asyncio
import logging
from collections.abc import Callable
from typing import TextIO

from pydantic import SecretStr

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import PauseReason, Unavailable
from whatsapp_worker.settings import Settings
from whatsapp_worker.whatsapp import events, files, pairing_socket
from whatsapp_worker.whatsapp.keeper import Keeper, Surroundings
from whatsapp_worker.whatsapp.pairing import Board
from whatsapp_worker.whatsapp.pairing_desk import PairingDesk, canvas
from whatsapp_worker.whatsapp.sender import Sender
from whatsapp_worker.whatsapp.states import Status, WhatsAppState
from whatsapp_worker.whatsapp.threads import on_thread

log = logging.getLogger(__name__)

# States that need nobody's attention.
_IN_ORDER = (WhatsAppState.STARTING, WhatsAppState.ONLINE, WhatsAppState.STOPPED)

Report = Callable[[PauseReason, str | None], None]


class NeonizeWhatsApp:
    """One WhatsApp account through neonize; fits `Sender`.

    The native library keeps threads that are no daemons, and after a failed pairing they never end:
    leave the process with `os._exit` once the logs are flushed (`may_hang_at_exit` tells when a
    normal exit would hang).  Its Go half writes to file descriptor 1 on its own, recipients' names
    included: before `run`, point that descriptor elsewhere (`logs.protect_stdout`).

    Args:
        settings: the worker's settings.
        report: closes the gate with a reason for people, and opens it with None.
        on_stuck: a send does not end: exit the process at once; nothing more can be sent safely.
        needs_restart: connections have leaked enough: stop in good order and be started again;
            told why.
        out: the real standard output, where WHATSAPP_QR may want codes drawn.
        surroundings: tests bring their own.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report,
        on_stuck: Callable[[], None],
        needs_restart: Callable[[str], None],
        out: TextIO,
        surroundings: Surroundings = Surroundings(),  # noqa: B008  It is frozen.
    ) -> None:
        self._settings = settings
        self._report = report
        self._load = surroundings.load
        self._keeper = Keeper(surroundings.call_later, self._heard, needs_restart)
        self._told = self._keeper.status
        phone = digits(settings.whatsapp_pair_phone)
        self._desk = PairingDesk(phone, canvas(settings.whatsapp_qr, out), self._told)
        self._sender = Sender(settings.send_timeout, on_stuck)

    @property
    def state(self) -> WhatsAppState:
        """Where the session stands (DESIGN 7)."""
        return self._keeper.status.state

    @property
    def why(self) -> str:
        """What that means just now, in a sentence for a person."""
        return self._keeper.status.why

    @property
    def online(self) -> bool:
        """Whether messages can be sent."""
        return self.state is WhatsAppState.ONLINE

    @property
    def board(self) -> Board:
        """The notices for whoever links a phone."""
        return self._desk.board

    @property
    def may_hang_at_exit(self) -> bool:
        """Whether native threads still run that a normal exit of the process would wait for."""
        return self._keeper.threads_remain

    async def run(self) -> None:
        """Keep the session until cancelled; `close` comes afterwards.

        Raises:
            Misconfigured: the session directory or the library cannot be used (in a group).
        """
        directory, proxy = self._settings.whatsapp_session_path, self._settings.whatsapp_proxy_url
        files.prepare(directory)
        database = files.database(directory)
        address = proxy.get_secret_value() if proxy else None
        new_client = await on_thread("whatsapp-load", lambda: self._load(database, address))
        self._tell(self._keeper.status)
        path = files.pairing_socket(directory)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pairing_socket.serve(path, self.board, self.ask))
            tasks.create_task(self._keeper.run(new_client))

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """Send a message and return WhatsApp's id of it.

        Raises:
            JobError: it was refused, or surely not sent, or perhaps sent.
            Unavailable: the session is not online; nothing was sent.
        """
        line = self._keeper.line
        if line is None or not self.online:
            raise Unavailable(PauseReason.WHATSAPP, self.why)
        try:
            return await self._sender.send(line.client, envelope)
        except Unavailable:
            self._keeper.tell(line.number, events.Offline())
            raise

    def ask(self, phone: str | None) -> None:
        """A person wants to pair, or to take the session back, now.

        Args:
            phone: digits of the phone on which to type a code, or None for a QR code.
        """
        self._desk.want(phone, self._keeper.line)
        if self._keeper.line is None:
            self._keeper.apply(events.Asked())

    async def close(self) -> None:
        """Hang up; returns within a few seconds, whatever the library does."""
        await self._keeper.close()

    def _heard(self, event: events.Event) -> None:
        status, line = self._keeper.status, self._keeper.line
        if isinstance(event, events.CodeShown) and line is not None:
            self._desk.new_code(line, status, event)
        elif status != self._told:
            self._desk.no_code(status)
        if (status.state, status.why) != (self._told.state, self._told.why):
            self._tell(status)
        self._told = status

    def _tell(self, status: Status) -> None:
        in_order = status.state in _IN_ORDER and not status.failures
        level = logging.INFO if in_order else logging.WARNING
        extra = {"whatsapp_state": str(status.state)}
        log.log(level, "whatsapp %s: %s", status.state, status.why, extra=extra)
        self._report(PauseReason.WHATSAPP, None if self.online else status.why)


def digits(phone: SecretStr | str | None) -> str | None:
    """The digits of a phone number, as WhatsApp wants them; None for none."""
    text = phone.get_secret_value() if isinstance(phone, SecretStr) else phone or ""
    return "".join(character for character in text if character in "0123456789") or None
