"""The only module that imports neonize: its sync client, made to fit `client.Client`.

Import it through `installation.load_native`, which first makes sure that neonize is complete.
"""

import ctypes
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import Any
from urllib.parse import quote

from neonize import client as neonize
from neonize import events as neonize_events
from neonize.exc import NeonizeError
from neonize.proto.Neonize_pb2 import JID, ConnectFailureReason, LogEntry, PairStatus, TemporaryBan
from neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2 import DeviceProps
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message
from neonize.utils.enum import ClientName, ClientType
from neonize.utils.log import log_whatsmeow

from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import Accepted, Emit, NativeError, Unbuildable

log = logging.getLogger(__name__)

# WhatsApp shows the first code for a minute and each of the next for 20 s (measured).
FIRST_CODE_SECONDS = 60.0
NEXT_CODE_SECONDS = 20.0

FLUSH_SECONDS = 2.0

_LOGOUTS = {
    ConnectFailureReason.LOGGED_OUT: "this device was unlinked",
    ConnectFailureReason.MAIN_DEVICE_GONE: "the phone's account is gone or locked",
    ConnectFailureReason.UNKNOWN_LOGOUT: "WhatsApp ended the login, perhaps for good",
}


class NeonizeClient:
    """One connection through neonize's sync client, on threads of its own.

    Args:
        name: unique in this process: the Go half finds its clients by it.
        database: the session database; neonize creates its tables.
        proxy: address of a proxy to WhatsApp, or None.
        emit: told every event; must neither block nor raise.
    """

    def __init__(self, name: str, database: Path, proxy: str | None, emit: Emit) -> None:
        # The Go half puts the name into a `file:` address.
        self._client: Any = neonize.NewClient(
            quote(str(database.absolute())),
            props=DeviceProps(os="whatsapp-worker", platformType=DeviceProps.CHROME),
            uuid=name,
        )
        self._proxy = neonize.ProxySettings(proxy) if proxy else None
        self._emit = emit
        self._codes = 0
        self._logged_in = False
        self._listen()

    def connect(self) -> None:
        """See `client.Client`."""
        try:
            self._client.connect(self._proxy)
        except NeonizeError as error:
            raise NativeError(str(error)) from None

    def stop(self) -> None:
        """See `client.Client`.

        After the last code the Go half looks for its client, and crashes the process if it has been
        told to forget it (measured).  So until a login it only hangs up: its thread is lost anyway.
        """
        if self._codes and not self._logged_in:
            self._client.disconnect()
        else:
            self._client.stop()

    def is_connected(self) -> bool:
        """See `client.Client`."""
        return bool(self._client.is_connected)

    def send_text(self, number: str, text: str) -> Accepted:
        """See `client.Client`.

        Sent as a plain `conversation`: given a string, neonize would turn every @12345 in it into a
        mention and ask WhatsApp about every group address (measured).
        """
        try:
            recipient, message = _jid(number), Message(conversation=text)
        except (TypeError, ValueError):
            raise Unbuildable from None
        try:
            response = self._client.send_message(recipient, message)
        except NeonizeError as error:
            raise NativeError(str(error)) from None
        return Accepted(str(response.ID), frozenset({response.Sender.User} | self._own_users()))

    def devices_of(self, person: str) -> frozenset[int]:
        """See `client.Client`."""
        user, _, server = person.partition("@")
        try:
            devices = self._client.get_user_devices(_jid(user, server))
        except NeonizeError as error:
            raise NativeError(str(error)) from None
        return frozenset(device.Device for device in devices)

    def flush_log(self) -> None:
        """See `client.Client`.

        The library's log comes through a queue and a thread.  An entry of our own, put at its end,
        has come out when all before it have.
        """
        entry = LogEntry(Message="flush", Level="WARNING", Name="flush").SerializeToString()
        buffer = ctypes.create_string_buffer(entry, len(entry))
        logger, seen = logging.getLogger("whatsmeow.flush"), _Seen()
        logger.propagate = False
        logger.addHandler(seen)
        try:
            log_whatsmeow(ctypes.addressof(buffer), len(entry))
            seen.flag.wait(FLUSH_SECONDS)
        finally:
            logger.removeHandler(seen)

    def pair_phone(self, number: str) -> str:
        """See `client.Client`."""
        try:
            code = self._client.PairPhone(number, True, ClientName.LINUX, ClientType.CHROME)
        except NeonizeError as error:
            raise NativeError(str(error)) from None
        return str(code)

    def _own_users(self) -> set[str]:
        # Known since the login; asking the Go half would crash the process if it just stopped.
        me = self._client.me
        return {me.JID.User, me.LID.User} if me is not None else set()

    def _listen(self) -> None:
        on = self._client.event
        on.qr(self._guarded(lambda code: self._code_shown(code.decode())))
        # Its own handler prints a pointer to stdout, and it is the only word of a failed pairing.
        self._client._NewClient__onLoginStatus = self._guarded(self._login_status)  # noqa: SLF001  No public way.
        for kind, event in _TRANSLATIONS.items():
            on(kind)(self._guarded(partial(self._translated, event)))

    def _translated(self, translate: Callable[[Any], events.Event], message: Any) -> None:
        event = translate(message)
        self._logged_in = self._logged_in or isinstance(event, events.Online)
        self._emit(event)

    def _guarded(self, handler: Callable[[Any], None]) -> Callable[[Any, Any], None]:
        """The library prints what its handlers raise; ours goes to the log."""

        def guarded(_: Any, value: Any) -> None:
            try:
                handler(value)
            except Exception:
                log.exception("an event of the WhatsApp library could not be read")

        return guarded

    def _code_shown(self, code: str) -> None:
        self._codes += 1
        seconds = FIRST_CODE_SECONDS if self._codes == 1 else NEXT_CODE_SECONDS
        self._emit(events.CodeShown(code, seconds))

    def _login_status(self, address: int) -> None:
        if ctypes.string_at(address) != b"success":
            self._emit(events.PairingFailed())


class _Seen(logging.Handler):
    """Says that a record has come by."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = Flag()

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record as the sign."""
        self.flag.set()


def _jid(user: str, server: str = "s.whatsapp.net") -> Any:
    return JID(User=user, Server=server, Device=0, RawAgent=0, Integrator=0, IsEmpty=False)


def _paired(message: Any) -> events.Event:
    done = message.Status == PairStatus.SUCCESS
    return events.Paired() if done else events.PairingFailed()


def _banned(message: Any) -> events.Event:
    reason = TemporaryBan.TempBanReason.Name(message.Code).lower().replace("_", " ")
    until = datetime.now(UTC) + timedelta(seconds=message.Expire)
    return events.Banned(float(message.Expire), f"until {until:%Y-%m-%d %H:%M} UTC ({reason})")


def _restricted(message: Any) -> events.Event:
    reason = ConnectFailureReason.Name(message.Reason).lower().replace("_", " ")
    return events.Restricted(f"WhatsApp refused the login ({reason})")


def _logged_out(message: Any) -> events.Event:
    return events.LoggedOut(_LOGOUTS.get(message.Reason, "WhatsApp ended the login"))


_TRANSLATIONS: dict[Any, Callable[[Any], events.Event]] = {
    neonize_events.PairStatusEv: _paired,
    neonize_events.ConnectedEv: lambda _: events.Online(),
    neonize_events.DisconnectedEv: lambda _: events.Offline(),
    # Answers are missing: a send would wait 75 s and end in doubt, so nothing is sent meanwhile.
    neonize_events.KeepAliveTimeoutEv: lambda _: events.Offline(),
    neonize_events.KeepAliveRestoredEv: lambda _: events.Online(),
    neonize_events.LoggedOutEv: _logged_out,
    neonize_events.StreamReplacedEv: lambda _: events.Replaced(),
    neonize_events.TemporaryBanEv: _banned,
    neonize_events.ConnectFailureEv: _restricted,
    neonize_events.ClientOutdatedEv: lambda _: events.Outdated(),
}
