"""The transition table, row by row."""

import pytest

from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.states import (
    BAN_MARGIN,
    BAN_SHORTEST,
    CODE_GRACE,
    LOGIN_LIMIT,
    RECONNECT_LIMIT,
    Action,
    Expect,
    HangUp,
    Keep,
    Redial,
    Rest,
    Status,
    WhatsAppState,
    advance,
    login_limit,
    pause_after_outage,
    pause_after_refusal,
    pause_after_round,
)

S = WhatsAppState

# state, failures before, event -> state, failures after, action
ROWS: list[tuple[WhatsAppState, int, events.Event, WhatsAppState, int, Action]] = [
    # A connection is begun: what is lost stays lost, what had ended is being mended.
    (S.STARTING, 0, events.Dialled(), S.STARTING, 0, Expect(LOGIN_LIMIT)),
    (S.STARTING, 2, events.Dialled(), S.STARTING, 2, Expect(3 * LOGIN_LIMIT)),
    (S.PAIRING, 1, events.Dialled(), S.PAIRING, 1, Expect(2 * LOGIN_LIMIT)),
    (S.LOGGED_OUT, 1, events.Dialled(), S.LOGGED_OUT, 1, Expect(2 * LOGIN_LIMIT)),
    (S.RECONNECTING, 0, events.Dialled(), S.RECONNECTING, 0, Expect(LOGIN_LIMIT)),
    (S.BANNED, 1, events.Dialled(), S.RECONNECTING, 1, Expect(2 * LOGIN_LIMIT)),
    (S.RESTRICTED, 9, events.Dialled(), S.RECONNECTING, 9, Expect(4 * LOGIN_LIMIT)),
    (S.FAILED, 1, events.Dialled(), S.RECONNECTING, 1, Expect(2 * LOGIN_LIMIT)),
    # Pairing.
    (S.STARTING, 0, events.CodeShown("q", 60), S.PAIRING, 0, Expect(60 + CODE_GRACE)),
    (S.PAIRING, 3, events.CodeShown("q", 20), S.PAIRING, 3, Expect(20 + CODE_GRACE)),
    (S.LOGGED_OUT, 1, events.CodeShown("q", 60), S.PAIRING, 1, Expect(60 + CODE_GRACE)),
    (S.PAIRING, 3, events.Paired(), S.STARTING, 0, Expect(LOGIN_LIMIT)),
    (S.PAIRING, 0, events.PairingFailed(), S.PAIRING, 1, Redial(2)),
    (S.PAIRING, 1, events.PairingFailed(), S.PAIRING, 2, Redial(8)),
    (S.PAIRING, 9, events.PairingFailed(), S.PAIRING, 10, Redial(600)),
    (S.LOGGED_OUT, 0, events.PairingFailed(), S.PAIRING, 1, Redial(2)),
    (S.ONLINE, 0, events.PairingFailed(), S.ONLINE, 0, Keep()),
    (S.PAIRING, 0, events.Overdue(), S.PAIRING, 1, Redial(2)),
    (S.PAIRING, 2, events.Unreachable("x"), S.PAIRING, 3, Redial(8)),
    # Online and back.
    (S.STARTING, 4, events.Online(), S.ONLINE, 0, Rest()),
    (S.RECONNECTING, 4, events.Online(), S.ONLINE, 0, Rest()),
    (S.ONLINE, 0, events.Offline(), S.RECONNECTING, 0, Expect(RECONNECT_LIMIT)),
    (S.RECONNECTING, 2, events.Offline(), S.RECONNECTING, 2, Keep()),
    (S.STARTING, 2, events.Offline(), S.STARTING, 2, Keep()),
    (S.PAIRING, 2, events.Offline(), S.PAIRING, 2, Keep()),
    (S.RECONNECTING, 0, events.Overdue(), S.RECONNECTING, 1, Redial(0)),
    (S.STARTING, 0, events.Overdue(), S.STARTING, 1, Redial(0)),
    (S.LOGGED_OUT, 0, events.Overdue(), S.LOGGED_OUT, 1, Redial(0)),
    (S.LOGGED_OUT, 0, events.Unreachable("x"), S.LOGGED_OUT, 1, Redial(2)),
    (S.STARTING, 0, events.Unreachable("x"), S.STARTING, 1, Redial(2)),
    (S.STARTING, 3, events.Unreachable("x"), S.STARTING, 4, Redial(16)),
    (S.RECONNECTING, 99, events.Unreachable("x"), S.RECONNECTING, 100, Redial(60)),
    (S.ONLINE, 0, events.Unreachable("x"), S.RECONNECTING, 1, Redial(2)),
    # What WhatsApp says no to.
    (S.ONLINE, 0, events.Replaced(), S.REPLACED, 0, HangUp()),
    (S.STARTING, 3, events.Banned(3600, "x"), S.BANNED, 4, Redial(3600 + BAN_MARGIN)),
    (S.ONLINE, 0, events.Banned(0, "x"), S.BANNED, 1, Redial(BAN_SHORTEST + BAN_MARGIN)),
    (S.STARTING, 0, events.Restricted("x"), S.RESTRICTED, 1, Redial(60)),
    (S.RECONNECTING, 2, events.Restricted("x"), S.RESTRICTED, 3, Redial(240)),
    (S.RECONNECTING, 50, events.Restricted("x"), S.RESTRICTED, 51, Redial(1800)),
    (S.STARTING, 0, events.Failed("x"), S.FAILED, 1, Redial(60)),
    (S.ONLINE, 0, events.LoggedOut("x"), S.LOGGED_OUT, 1, Redial(2)),
    (S.STARTING, 2, events.LoggedOut("x"), S.LOGGED_OUT, 3, Redial(32)),
    (S.STARTING, 2, events.Outdated(), S.OUTDATED, 0, HangUp()),
    # A person asks.
    (S.REPLACED, 0, events.Asked(), S.RECONNECTING, 0, Redial(0)),
    (S.OUTDATED, 0, events.Asked(), S.RECONNECTING, 0, Redial(0)),
    (S.RESTRICTED, 5, events.Asked(), S.RECONNECTING, 0, Redial(0)),
    (S.FAILED, 5, events.Asked(), S.RECONNECTING, 0, Redial(0)),
    (S.PAIRING, 5, events.Asked(), S.PAIRING, 0, Redial(0)),
    (S.LOGGED_OUT, 5, events.Asked(), S.LOGGED_OUT, 0, Redial(0)),
    (S.STARTING, 5, events.Asked(), S.STARTING, 0, Redial(0)),
    (S.BANNED, 5, events.Asked(), S.BANNED, 5, Keep()),
    (S.ONLINE, 0, events.Asked(), S.ONLINE, 0, Keep()),
    (S.STOPPED, 0, events.Asked(), S.STOPPED, 0, Keep()),
    # The end.
    *((state, 1, events.Closed(), S.STOPPED, 0, HangUp()) for state in S),
]


@pytest.mark.parametrize(("state", "failures", "event", "after", "failed", "action"), ROWS)
def test_each_event_leads_to_its_state_and_its_policy(
    state: WhatsAppState,
    failures: int,
    event: events.Event,
    after: WhatsAppState,
    failed: int,
    action: Action,
) -> None:
    status, decided = advance(Status(state, "before", failures), event)

    assert (status.state, status.failures, decided) == (after, failed, action)
    assert status.why


def test_every_pause_grows_and_ends_growing() -> None:
    for pause, longest in (
        (pause_after_outage, 60),
        (pause_after_round, 600),
        (pause_after_refusal, 1800),
        (login_limit, 360),
    ):
        pauses = [pause(failures) for failures in range(30)]
        assert pauses == sorted(pauses)
        assert pauses[0] < pauses[-1] == longest
        assert pause(10**6) == longest


def test_a_replaced_session_is_never_fought_over() -> None:
    status, _ = advance(Status(S.ONLINE, ""), events.Replaced())

    assert "restart" in status.why
    assert "pair" in status.why


def test_a_pairing_code_is_in_no_representation() -> None:
    assert "secret" not in repr(events.CodeShown("secret", 60))
