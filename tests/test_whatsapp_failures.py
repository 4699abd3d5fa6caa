"""The library's words and what they mean, row by row as measured."""

import pytest

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
from whatsapp_worker.whatsapp.failures import (
    UNKNOWN_BAN_SECONDS,
    connect_failure,
    send_failure,
)

JID = "15551110001@s.whatsapp.net"
LOOKUP = f"failed to get user info for {JID} to fill LID cache: failed to send usync query: "
MEDIA = "failed to refresh media connections: failed to query media connections: "

JOB_ERRORS: list[tuple[str, type[JobError], ErrorType]] = [
    (f"no LID found for {JID} from server", Refused, ErrorType.NOT_ON_WHATSAPP),
    *((f"server returned error {n}", Refused, ErrorType.REFUSED) for n in (400, 401, 403, 404)),
    *((f"server returned error {n}", Refused, ErrorType.REFUSED) for n in (405, 408, 421, 475)),
    *((f"server returned error {n}", Throttled, ErrorType.THROTTLED) for n in (429, 463, 479)),
    *((f"server returned error {n}", Transient, ErrorType.SERVER_ERROR) for n in (500, 503, 599)),
    ("server returned error 600", Refused, ErrorType.REFUSED),
    (LOOKUP + "info query returned status 429: rate-overlimit", Throttled, ErrorType.THROTTLED),
    (LOOKUP + "info query timed out", Transient, ErrorType.NETWORK),
    (
        LOOKUP + "websocket disconnected before info query returned response",
        Transient,
        ErrorType.NETWORK,
    ),
    (LOOKUP + "unexpected EOF", Transient, ErrorType.NETWORK),
    ("failed to get device list: database is locked", Transient, ErrorType.NETWORK),
    (MEDIA + "info query returned status 429: rate-overlimit", Throttled, ErrorType.THROTTLED),
    (MEDIA + "info query timed out", Transient, ErrorType.NETWORK),
    ("failed to refresh media connections: no hosts", Transient, ErrorType.NETWORK),
    ("info query returned status 503: service-unavailable", Transient, ErrorType.SERVER_ERROR),
    ("info query returned status 429: slow-down", Throttled, ErrorType.THROTTLED),
    *(
        (f"upload failed with status code {n}", Transient, ErrorType.SERVER_ERROR)
        for n in (401, 403, 413, 500)
    ),
    ("timed out waiting for message send response", InDoubt, ErrorType.UNKNOWN_OUTCOME),
    (
        "websocket disconnected before message send returned response",
        InDoubt,
        ErrorType.UNKNOWN_OUTCOME,
    ),
    ("failed to send message node: broken pipe", InDoubt, ErrorType.UNKNOWN_OUTCOME),
    (
        "failed to send message node: failed to write msg: failed to write frame: "
        "use of closed network connection",
        InDoubt,
        ErrorType.UNKNOWN_OUTCOME,
    ),
    ("something nobody has ever seen", InDoubt, ErrorType.UNKNOWN_OUTCOME),
    ("", InDoubt, ErrorType.UNKNOWN_OUTCOME),
]

OFFLINE = [
    LOOKUP + "websocket not connected",
    "failed to get device list: failed to send usync query: websocket not connected",
    "failed to send message node: websocket not connected",
    "failed to send message node: frame socket is closed",
    "failed to send message node: failed to write msg: failed to write frame: failed to flush: "
    "write tcp 127.0.0.1:1->127.0.0.1:2: write: connection reset by peer",
    "client is nil",
    "the store doesn't contain a device JID",
    "failed to get device list: unknown user server ''",
]


@pytest.mark.parametrize(("text", "kind", "error_type"), JOB_ERRORS)
def test_a_failed_send_becomes_the_error_that_decides_its_fate(
    text: str, kind: type[JobError], error_type: ErrorType
) -> None:
    error = send_failure(text)

    assert type(error) is kind
    assert isinstance(error, JobError)
    assert error.error_type is error_type


@pytest.mark.parametrize("text", OFFLINE)
def test_a_send_without_a_connection_pauses_and_costs_nothing(text: str) -> None:
    error = send_failure(text)

    assert isinstance(error, Unavailable)
    assert error.reason is PauseReason.WHATSAPP


@pytest.mark.parametrize("text", [text for text, _, _ in JOB_ERRORS] + OFFLINE)
def test_no_error_repeats_a_number_or_the_library_s_words(text: str) -> None:
    said = str(send_failure(text))

    assert "15551110001" not in said
    assert "usync" not in said
    assert not text or text not in said


def test_the_code_of_a_refusal_is_told_because_people_look_it_up() -> None:
    assert "463" in str(send_failure("server returned error 463"))
    assert "404" in str(send_failure("server returned error 404"))


DIAL = "failed to dial whatsapp web websocket: failed to WebSocket dial: "

CONNECTS: list[tuple[str, type[events.Event]]] = [
    ("", events.Unreachable),
    (
        DIAL + "expected handshake response status code 101 but got 503",
        events.Unreachable,
    ),
    (DIAL + "failed to send handshake request: Get ...", events.Unreachable),
    ("noise handshake failed: timed out waiting for handshake response", events.Unreachable),
    (
        "noise handshake failed: failed to verify server cert: failed to verify intermediate",
        events.Failed,
    ),
    (DIAL + "tls: x509: certificate signed by unknown authority", events.Failed),
    ("failed to upgrade database: file is not a database", events.Failed),
    ("failed to upgrade database: unable to open database file: is a directory", events.Failed),
    ("proto: required field neonize.TemporaryBan.Code not set", events.Banned),
    ("proto: required field neonize.ConnectFailure.Reason not set", events.Restricted),
    ("something nobody has ever seen", events.Failed),
]


@pytest.mark.parametrize(("text", "kind"), CONNECTS)
def test_a_failed_connect_becomes_the_event_that_sets_the_pace(
    text: str, kind: type[events.Event]
) -> None:
    assert type(connect_failure(text)) is kind


def test_a_ban_of_unreadable_length_counts_as_an_hour() -> None:
    ban = connect_failure("proto: required field neonize.TemporaryBan.Code not set")

    assert isinstance(ban, events.Banned)
    assert ban.seconds == UNKNOWN_BAN_SECONDS == 3600
