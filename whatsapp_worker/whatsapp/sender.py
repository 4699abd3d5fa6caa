"""Sends one message at a time, and knows when an "OK" from the library is none."""

import asyncio
import logging
import re
from collections.abc import Callable

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, InDoubt, Transient
from whatsapp_worker.masking import mask
from whatsapp_worker.whatsapp.client import Accepted, Client, NativeError, Unbuildable
from whatsapp_worker.whatsapp.failures import send_failure
from whatsapp_worker.whatsapp.threads import on_thread

log = logging.getLogger(__name__)

# The library's line for each device it could not encrypt a message for; a phone, unlike a linked
# computer, has no device number behind its user part (measured).
_NOT_ENCRYPTED = re.compile(r"Failed to encrypt (?P<id>\S+) for (?P<user>\d+)@\S+: ")


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
    if failures.left_out_recipient(accepted):
        raise Transient(
            ErrorType.NO_DEVICE, "the message could not be encrypted for the destination's phone"
        )
    return accepted.message_id


class NotEncrypted(logging.Handler):
    """Collects whom the library could not encrypt a message for, while it is entered.

    The library sends the message to the remaining devices, be they none, and reports success.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._pairs: set[tuple[str, str]] = set()
        self._logger = logging.getLogger("whatsmeow.Client")

    def __enter__(self) -> "NotEncrypted":
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line that says so."""
        if found := _NOT_ENCRYPTED.search(record.getMessage()):
            self._pairs.add((found["id"], found["user"]))

    def left_out_recipient(self, accepted: Accepted) -> bool:
        """Whether the recipient's phone got nothing; our own devices do not matter."""
        return any(
            message_id == accepted.message_id and user not in accepted.own_users
            for message_id, user in self._pairs
        )
