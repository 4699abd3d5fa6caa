"""The real neonize behind our seam, without a network: texts, events, failures, the log."""

import ctypes
import gc
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import Client, NativeError, Unbuildable
from whatsapp_worker.whatsapp.installation import load_native

# urllib3, which neonize imports, binds a socket to ::1 to see whether the machine knows IPv6.
pytestmark = pytest.mark.loopback


@dataclass
class Native:
    """A client of the real library, and what it told."""

    client: Any
    told: list[events.Event] = field(default_factory=list)

    @property
    def inner(self) -> Any:
        return self.client._client

    def happens(self, name: str, **values: Any) -> events.Event:
        """Let an event happen as the library does: by its code and its protobuf message."""
        from neonize import events as neonize_events

        kind = getattr(neonize_events, name)
        message = kind(**values)
        payload = message.SerializeToString()
        buffer = ctypes.create_string_buffer(payload, len(payload))
        code = neonize_events.EVENT_TO_INT[kind]
        self.inner.event.execute(0, ctypes.addressof(buffer), len(payload), code)
        return self.told[-1]


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Native:
    # The first import runs `uname` to know an Android, and leaves it without waiting for its end.
    monkeypatch.setattr("os.popen", lambda _: io.StringIO("Linux"))
    new_client = load_native(tmp_path / "a b?#%.db", "http://127.0.0.1:1")
    told: list[events.Event] = []
    return Native(new_client(f"test-{tmp_path.name}", told.append), told)


def raises(text: str) -> Callable[..., Any]:
    from neonize.exc import SendMessageError

    def call(*_: object) -> Any:
        raise SendMessageError(text)

    return call


def test_nobody_looks_through_the_library_for_garbage(native: Native) -> None:
    assert gc.get_freeze_count() > 20_000
    assert native.told == []


def test_fits_the_seam(native: Native) -> None:
    client: Client = native.client

    assert client.is_connected() is False
    client.stop()


def test_the_database_s_name_survives_in_an_address(native: Native) -> None:
    assert native.inner.name.endswith("/a%20b%3F%23%25.db")


def test_sends_a_plain_conversation_whatever_the_text_looks_like(native: Native) -> None:
    sent: list[tuple[Any, Any]] = []

    def send_message(to: Any, message: Any) -> Any:
        sent.append((to, message))
        return SimpleNamespace(ID="3EB01", Sender=SimpleNamespace(User="111"))

    native.inner.send_message = send_message
    text = "@5511999990000 see https://example.com and @12345678901-1@g.us"
    accepted = native.client.send_text("15551110001", text)

    ((to, message),) = sent
    assert (to.User, to.Server, to.Device) == ("15551110001", "s.whatsapp.net", 0)
    assert message.conversation == text
    assert [field.name for field, _ in message.ListFields()] == ["conversation"]
    assert accepted.message_id == "3EB01"
    assert accepted.own_users == {"111"}


def test_devices_are_known_by_their_numbers(native: Native) -> None:
    asked: list[Any] = []

    def get_user_devices(person: Any) -> list[Any]:
        asked.append((person.User, person.Server))
        return [SimpleNamespace(Device=0), SimpleNamespace(Device=12)]

    native.inner.get_user_devices = get_user_devices

    assert native.client.devices_of("106784516117871@lid") == {0, 12}
    assert asked == [("106784516117871", "lid")]


def test_a_client_that_showed_codes_is_not_forgotten_before_it_is_logged_in(native: Native) -> None:
    calls: list[str] = []
    native.inner.stop = lambda: calls.append("stop")
    native.inner.disconnect = lambda: calls.append("disconnect")

    native.client.stop()
    native.client._code_shown("2@code")
    native.client.stop()
    native.happens("ConnectedEv", status=True)
    native.client.stop()

    assert calls == ["stop", "disconnect", "stop"]


def test_our_own_users_are_known_from_the_login(native: Native) -> None:
    me = SimpleNamespace(JID=SimpleNamespace(User="1555"), LID=SimpleNamespace(User="222"))
    native.inner.me = me
    native.inner.send_message = lambda *_: SimpleNamespace(
        ID="3EB01", Sender=SimpleNamespace(User="222")
    )

    assert native.client.send_text("1", "x").own_users == {"1555", "222"}


def test_failures_keep_the_library_s_words_and_nothing_else(native: Native) -> None:
    native.inner.send_message = raises("server returned error 500")
    native.inner.PairPhone = raises("no")
    native.inner.get_user_devices = raises("unknown")
    native.inner.connect = raises("failed to dial")

    with pytest.raises(NativeError, match=r"^server returned error 500$"):
        native.client.send_text("1", "x")
    with pytest.raises(NativeError, match=r"^no$"):
        native.client.pair_phone("1")
    with pytest.raises(NativeError, match=r"^unknown$"):
        native.client.devices_of("1@lid")
    with pytest.raises(NativeError, match=r"^failed to dial$"):
        native.client.connect()


def test_a_text_that_is_no_unicode_is_not_sent(native: Native) -> None:
    native.inner.send_message = raises("must not be called")

    with pytest.raises(Unbuildable):
        native.client.send_text("1", "\ud800")


def test_a_send_before_connecting_finds_no_client(native: Native) -> None:
    with pytest.raises(NativeError, match="client is nil"):
        native.client.send_text("15551110001", "hello")


def test_a_phone_code_is_asked_as_a_browser(native: Native) -> None:
    asked: list[tuple[Any, ...]] = []

    def pair_phone(*given: Any) -> str:
        asked.append(given)
        return "ABCD-1234"

    native.inner.PairPhone = pair_phone

    assert native.client.pair_phone("5511") == "ABCD-1234"
    ((phone, push, name, kind),) = asked
    assert (phone, push, kind.name, name.name) == ("5511", True, "Chrome", "Linux")


def test_the_proxy_reaches_the_library(native: Native) -> None:
    given: list[Any] = []
    native.inner.connect = given.append
    native.client.connect()

    assert given[0].proxy_address == "http://127.0.0.1:1"


def test_codes_are_told_with_their_time(native: Native) -> None:
    for code in (b"one", b"two", b"three"):
        native.inner.event._qr(native.inner, code)

    assert native.told == [
        events.CodeShown("one", 60),
        events.CodeShown("two", 20),
        events.CodeShown("three", 20),
    ]


def test_the_end_of_a_round_is_told_and_nothing_is_printed(
    native: Native, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in (b"success", b"timeout", b"error"):
        buffer = ctypes.create_string_buffer(word)
        native.inner._NewClient__onLoginStatus(0, ctypes.addressof(buffer))

    assert native.told == [events.PairingFailed(), events.PairingFailed()]
    assert capsys.readouterr().out == ""


def test_every_event_of_the_session_is_understood(native: Native) -> None:
    assert native.happens("ConnectedEv", status=True) == events.Online()
    assert native.happens("DisconnectedEv", status=True) == events.Offline()
    assert native.happens("KeepAliveTimeoutEv", ErrorCount=1, LastSuccess=1) == events.Offline()
    assert native.happens("KeepAliveRestoredEv") == events.Online()
    assert native.happens("StreamReplacedEv") == events.Replaced()
    assert native.happens("ClientOutdatedEv") == events.Outdated()


@pytest.mark.parametrize(("status", "event"), [(1, events.PairingFailed()), (2, events.Paired())])
def test_a_scan_is_told_as_what_it_was(native: Native, status: int, event: events.Event) -> None:
    from neonize.proto.Neonize_pb2 import JID

    jid = JID(User="1", RawAgent=0, Device=0, Integrator=0, Server="x", IsEmpty=False)

    told = native.happens("PairStatusEv", ID=jid, BusinessName="", Platform="", Status=status)
    assert told == event


def test_a_ban_says_until_when_and_what_for(native: Native) -> None:
    ban = native.happens("TemporaryBanEv", Code=1, Expire=3600)

    assert isinstance(ban, events.Banned)
    assert ban.seconds == 3600
    assert ban.why.startswith("until 20")
    assert ban.why.endswith("(send to too many people)")


@pytest.mark.parametrize(
    ("reason", "word"), [(2, "unlinked"), (4, "locked"), (5, "ended"), (1, "ended the login")]
)
def test_a_logout_says_what_is_known(native: Native, reason: int, word: str) -> None:
    logout = native.happens("LoggedOutEv", OnConnect=True, Reason=reason)

    assert isinstance(logout, events.LoggedOut)
    assert word in logout.why


def test_a_refused_login_names_the_reason_and_not_the_server_s_words(native: Native) -> None:
    from neonize.proto.Neonize_pb2 import Node

    raw = Node(Tag="failure", Nil=True, Bytes=b"")
    refused = native.happens("ConnectFailureEv", Reason=7, Message="about 5511999990000", Raw=raw)

    assert refused == events.Restricted("WhatsApp refused the login (bad user agent)")


def test_an_event_that_cannot_be_read_is_logged_and_not_raised(
    native: Native, caplog: pytest.LogCaptureFixture
) -> None:
    native.inner.event._qr(native.inner, None)

    assert native.told == []
    assert "could not be read" in caplog.text


# The library calls `Logger.warn`, which Python would rather have called `warning`.
@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
def test_flushing_waits_until_all_before_went_through_logging(
    native: Native, caplog: pytest.LogCaptureFixture
) -> None:
    from neonize.proto.Neonize_pb2 import LogEntry
    from neonize.utils.log import log_whatsmeow

    for number in range(100):
        entry = LogEntry(Message=f"m{number}", Level="WARN", Name="Client").SerializeToString()
        buffer = ctypes.create_string_buffer(entry, len(entry))
        log_whatsmeow(ctypes.addressof(buffer), len(entry))
    native.client.flush_log()

    assert [record.getMessage() for record in caplog.records] == [f"m{n}" for n in range(100)]
    assert not logging.getLogger("whatsmeow.flush").handlers
