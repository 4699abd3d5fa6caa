"""The one table from what the library says to what it means for us.

neonize hands over every failure as one text in one exception class, so the text decides.  Each row
was measured against a local WhatsApp server; what it means is DESIGN 5.  Our errors repeat nothing
of that text, because it names JIDs.
"""

import re
from collections.abc import Callable

from whatsapp_worker.errors import (
    ErrorType,
    InDoubt,
    JobError,
    PauseReason,
    Refused,
    Throttled,
    Transient,
    Unavailable,
)
from whatsapp_worker.whatsapp import events

# Acknowledgements that ask for fewer messages: too many requests, no more new chats for now
# (463), and too many of the same kind (479).
THROTTLING_CODES = frozenset({429, 463, 479})

_SERVER_CODE = re.compile(r"server returned error (\d+)")
_QUERY_STATUS = re.compile(r"info query returned status (\d+)")
_UPLOAD_STATUS = re.compile(r"upload failed with status code (\d+)")


def _offline(detail: str) -> Unavailable:
    return Unavailable(PauseReason.WHATSAPP, detail)


def _throttled(detail: str) -> Throttled:
    return Throttled(ErrorType.THROTTLED, detail)


def _unreachable(detail: str) -> Transient:
    return Transient(ErrorType.NETWORK, detail)


# First match wins, so the more telling texts come first.
_SENDS: tuple[tuple[str, Callable[[], JobError | Unavailable]], ...] = (
    (
        "no LID found",
        lambda: Refused(ErrorType.NOT_ON_WHATSAPP, "the destination has no WhatsApp account"),
    ),
    (
        "timed out waiting for message send response",
        lambda: InDoubt("WhatsApp did not acknowledge the message in time"),
    ),
    (
        "websocket disconnected before message send returned response",
        lambda: InDoubt("the connection broke before WhatsApp acknowledged the message"),
    ),
    ("websocket not connected", lambda: _offline("not connected to WhatsApp")),
    ("frame socket is closed", lambda: _offline("not connected to WhatsApp")),
    # The system took no more bytes, so the last never left; of other failed writes nobody knows.
    (
        "failed to write frame: failed to flush: write tcp",
        lambda: _offline("the connection broke before the message was out"),
    ),
    ("client is nil", lambda: _offline("the WhatsApp client is not running")),
    ("the store doesn't contain a device JID", lambda: _offline("not paired with a phone")),
    ("unknown user server ''", lambda: _offline("not paired with a phone")),
    ("rate-overlimit", lambda: _throttled("WhatsApp limits the queries of this account")),
    ("info query timed out", lambda: _unreachable("WhatsApp did not answer a query in time")),
    (
        "websocket disconnected before info query",
        lambda: _unreachable("the connection broke before the message was sent"),
    ),
    ("failed to send usync query", lambda: _unreachable("the destination could not be looked up")),
    (
        "failed to get device list",
        lambda: _unreachable("the destination's devices could not be looked up"),
    ),
    ("failed to refresh media connections", lambda: _unreachable("no upload server was named")),
)


def send_failure(text: str) -> JobError | Unavailable:
    """Say what a failed send means.

    Args:
        text: the library's own words; they are matched, never repeated.

    Returns:
        The error to raise; InDoubt for words nobody has seen before, because the message may have
        been sent.
    """
    if code := _SERVER_CODE.search(text):
        return _acknowledged_with(int(code[1]))
    for words, error in _SENDS:
        if words in text:
            return error()
    if status := _QUERY_STATUS.search(text) or _UPLOAD_STATUS.search(text):
        return _answered_with(int(status[1]))
    return InDoubt("the send ended in a way this worker does not know; its log has the words")


def _acknowledged_with(code: int) -> JobError:
    if code in THROTTLING_CODES:
        return _throttled(f"WhatsApp wants fewer messages from this account (error {code})")
    if 500 <= code <= 599:
        return Transient(ErrorType.SERVER_ERROR, f"WhatsApp had a failure (error {code})")
    return Refused(ErrorType.REFUSED, f"WhatsApp refused the message (error {code})")


def _answered_with(status: int) -> JobError:
    """A query or an upload before the message failed, so the message was not sent."""
    if status in THROTTLING_CODES:
        return _throttled(f"WhatsApp limits the queries of this account (status {status})")
    return Transient(ErrorType.SERVER_ERROR, f"WhatsApp refused a query (status {status})")


# How long to believe in a ban whose length the library could not read.
UNKNOWN_BAN_SECONDS = 3600.0

_CONNECTS: tuple[tuple[str, Callable[[], events.Event]], ...] = (
    # The library fails to build its own event for codes it does not know; only these words remain.
    (
        "neonize.TemporaryBan.Code not set",
        lambda: events.Banned(
            UNKNOWN_BAN_SECONDS, "for a while (the library could not read for how long)"
        ),
    ),
    (
        "neonize.ConnectFailure.Reason not set",
        lambda: events.Restricted("WhatsApp refused the login with a code the library lacks"),
    ),
    (
        "failed to verify server cert",
        lambda: events.Failed("the server is not WhatsApp: its certificate is wrong"),
    ),
    ("x509", lambda: events.Failed("the server's TLS certificate is not trusted")),
    ("database", lambda: events.Failed("the session database is unusable (restore or delete it)")),
    ("noise handshake failed", lambda: events.Unreachable("WhatsApp's handshake failed")),
    ("failed to dial", lambda: events.Unreachable("WhatsApp cannot be reached")),
)


def connect_failure(text: str) -> events.Event:
    """Say what a failed connect means for the session.

    Args:
        text: the library's own words, empty when it ended without any.
    """
    if not text:
        return events.Unreachable("the connection to WhatsApp ended")
    for words, event in _CONNECTS:
        if words in text:
            return event()
    return events.Failed("connecting failed in a way this worker does not know")
