"""Sends one message at a time, and knows when an "OK" from the library is none."""

import asyncio
import logging
import re
from collections.abc import Callable

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, InDoubt, JobError, Transient
from whatsapp_worker.masking import mask
from whatsapp_worker.whatsapp.client import Accepted, Client, NativeError, Unbuildable
from whatsapp_worker.whatsapp.failures import send_failure
from whatsapp_worker.whatsapp.threads import on_thread

log = logging.getLogger(__name__)

# The library's line for each device it could not encrypt a message for (measured).
_NOT_ENCRYPTED = re.compile(
    r"Failed to encrypt (?P<id>\S+) for (?P<user>\d+)(?::(?P<device>\d+))?@(?P<server>\S+): "
)
# The phone has no number in its address; linked computers do (measured).
_PHONE = 0


class Sender:
    """Sends texts through whatever client is connected, never two at once.

    The library sends one by one anyway, and a lost acknowledgement blocks it for 75 s (measured).

    Args:
        send_timeout: seconds a call may take before `on_stuck` is called.
        on_stuck: called once for a call that does not end.  The process has to exit and start
            over: a second send would wait behind the first and double it (DESIGN 5).
    """

    def __init__(self, send_timeout: float, on_stuck: Callable[[], None]) -> None:
        self._send_timeout = send_timeout
        self._on_stuck = on_stuck
        self._turn = asyncio.Lock()
        self._call: asyncio.Future[str] | None = None

    async def send(self, client: Client, envelope: WhatsAppEnvelope) -> str:
        """Send a message and return WhatsApp's id of it.

        Raises:
            JobError, Unavailable: it was not sent, or perhaps; see `failures`.
        """
        async with self._turn:
            if self._call is not None:  # Its caller was cancelled, the call itself cannot be.
                await asyncio.wait({self._call})
            number = envelope.destination.removeprefix("+")
            text = envelope.text_message
            self._call = on_thread("whatsapp-send", lambda: _send(client, number, text))
            await self._end_of(self._call)
            return self._call.result()

    async def _end_of(self, call: asyncio.Future[str]) -> None:
        _, running = await asyncio.wait({call}, timeout=self._send_timeout)
        if running:
            log.critical("a send has not ended after %.0f s", self._send_timeout)
            self._on_stuck()
            await asyncio.wait({call})


def _send(client: Client, number: str, text: str) -> str:
    """The blocking half, on its own thread."""
    with NotEncrypted() as failures:
        try:
            accepted = client.send_text(number, text)
        except NativeError as error:
            failure = send_failure(str(error))
            if isinstance(failure, InDoubt):
                log.warning("a send ended in doubt: %s", mask(str(error)))
            raise failure from None
        except Unbuildable:
            raise Transient(ErrorType.INTERNAL, "the message could not be built") from None
        except Exception as error:
            log.exception("the WhatsApp library failed in a send")
            raise InDoubt("the WhatsApp library failed in a send") from error
        client.flush_log()
    for person, devices in failures.left_out(accepted).items():
        if _PHONE in devices:
            raise _unread_on_the_phone(client, person, devices)
    return accepted.message_id


def _unread_on_the_phone(client: Client, person: str, left_out: set[int]) -> JobError:
    """Say what it means that a message was not encrypted for the recipient's phone.

    Mostly it was encrypted for nobody.  Else it is read on a computer, and would be read there
    again with every retry: that is not surely unsent.
    """
    try:
        nobody = client.devices_of(person) <= left_out
    except NativeError:
        nobody = False
    if nobody:
        return Transient(
            ErrorType.NO_DEVICE, "the message could not be encrypted for the destination's phone"
        )
    return InDoubt("the message was encrypted for a computer of the destination, not for the phone")


class NotEncrypted(logging.Handler):
    """Collects whom the library could not encrypt a message for, while it is entered.

    The library sends the message to the remaining devices, be they none, and reports success.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._found: list[tuple[str, str, str, int]] = []
        self._logger = logging.getLogger("whatsmeow.Client")

    def __enter__(self) -> "NotEncrypted":
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line that says so."""
        if found := _NOT_ENCRYPTED.search(record.getMessage()):
            device = int(found["device"] or _PHONE)
            self._found.append((found["id"], found["user"], found["server"], device))

    def left_out(self, accepted: Accepted) -> dict[str, set[int]]:
        """Who got a message on fewer devices than they have: address, and numbers of devices.

        Devices of our own account do not matter.
        """
        people: dict[str, set[int]] = {}
        for message_id, user, server, device in self._found:
            if message_id == accepted.message_id and user not in accepted.own_users:
                people.setdefault(f"{user}@{server}", set()).add(device)
        return people
