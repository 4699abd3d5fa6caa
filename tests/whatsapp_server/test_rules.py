"""What a test scripts is what happens, in the order in which it was scripted."""

import asyncio

import pytest

from tests.whatsapp_server.rulebook import Rulebook
from tests.whatsapp_server.rules import (
    MUTED_KEEPALIVE,
    AckError,
    Answer,
    BadHmac,
    Delay,
    DropAfter,
    ErrorReply,
    Fail,
    LoseAck,
    LoseMessage,
    OnDial,
    OnHandshake,
    OnLogin,
    OnMessage,
    OnPairing,
    OnQuery,
    OnUpgrade,
    OnUpload,
    Query,
    RateLimit,
    Refuse,
    Silence,
)

ALICE, BOB = "15551110001", "15551110002"


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def rules() -> Rulebook:
    return Rulebook()


def test_without_a_rule_nothing_is_special(rules: Rulebook) -> None:
    assert rules.on_message(ALICE) is None
    assert rules.on_query(Query.USYNC) is None
    assert rules.on_login() is None


def test_counted_rules_apply_one_after_the_other_and_then_no_more(rules: Rulebook) -> None:
    rules.add(OnMessage(AckError(463)), times=2)
    rules.add(OnMessage(LoseAck()), times=1)
    happened = [rules.on_message(ALICE) for _ in range(4)]
    assert happened == [AckError(463), AckError(463), LoseAck(), None]


def test_a_standing_rule_applies_when_no_counted_one_is_left(rules: Rulebook) -> None:
    rules.add(OnMessage(AckError(429)))
    rules.add(OnMessage(DropAfter()), times=1)
    happened = [rules.on_message(ALICE) for _ in range(3)]
    assert happened == [DropAfter(), AckError(429), AckError(429)]


def test_a_rule_for_one_number_leaves_the_others_alone(rules: Rulebook) -> None:
    rule = rules.add(OnMessage(LoseMessage(), to=BOB), times=1)
    assert rules.on_message(ALICE) is None
    assert rule.applied == 0
    assert rules.on_message(BOB) == LoseMessage()
    assert rule.applied == 1


def test_a_rule_for_one_question_leaves_the_others_alone(rules: Rulebook) -> None:
    rules.add(OnQuery(Query.PREKEYS, ErrorReply(503)))
    assert rules.on_query(Query.PREKEY_UPLOAD) is None
    assert rules.on_query(Query.PREKEYS) == ErrorReply(503)


def test_every_situation_has_its_effect(rules: Rulebook) -> None:
    rules.add(OnDial(Refuse()), times=1)
    rules.add(OnUpgrade(Answer(503)), times=1)
    rules.add(OnHandshake(Silence()), times=1)
    rules.add(OnLogin(Fail(402, code=101, expire=3600)), times=1)
    rules.add(OnPairing(BadHmac()), times=1)
    rules.add(OnQuery(Query.MEDIA_CONN, Delay(1.5)), times=1)
    rules.add(OnUpload(Answer(413)), times=1)
    rules.add(MUTED_KEEPALIVE, times=1)
    assert rules.on_dial() == Refuse()
    assert rules.on_upgrade() == Answer(503)
    assert rules.on_handshake() == Silence()
    assert rules.on_login() == Fail(402, code=101, expire=3600)
    assert rules.on_pairing() == BadHmac()
    assert rules.on_query(Query.MEDIA_CONN) == Delay(1.5)
    assert rules.on_upload() == Answer(413)
    assert rules.on_query(Query.KEEPALIVE) == Silence()
    assert not rules.never_applied


def test_a_rate_limit_lets_so_many_through_each_second() -> None:
    clock = Clock()
    rules = Rulebook(clock)
    rules.on_message(ALICE)  # Before there was a limit: it counts for nothing.
    rules.add(RateLimit(2, AckError(429)))
    assert [rules.on_message(ALICE) for _ in range(3)] == [None, None, AckError(429)]
    clock.seconds += 1.0
    assert [rules.on_message(BOB) for _ in range(3)] == [None, None, AckError(429)]


def test_a_message_with_a_fate_of_its_own_is_not_counted_against_the_rate_limit() -> None:
    rules = Rulebook(Clock())
    rules.add(RateLimit(1, AckError(429)))
    rules.add(OnMessage(LoseAck()), times=1)
    assert [rules.on_message(ALICE) for _ in range(3)] == [LoseAck(), None, AckError(429)]


def test_a_removed_rule_no_longer_applies(rules: Rulebook) -> None:
    rule = rules.add(OnMessage(LoseAck()))
    rules.remove(rule)
    assert rules.on_message(ALICE) is None
    with pytest.raises(ValueError, match="not in list"):
        rules.remove(rule)


async def test_clear_forgets_everything(rules: Rulebook) -> None:
    rules.add(OnMessage(LoseAck()), times=1)
    rules.round_trip = 0.5
    rules.freeze()
    rules.clear()
    assert rules.on_message(ALICE) is None
    assert rules.round_trip == 0.0
    assert not rules.never_applied
    await asyncio.wait_for(rules.thawed(), 5)


async def test_frozen_means_waiting_until_the_thaw(rules: Rulebook) -> None:
    rules.freeze()
    waiting = asyncio.create_task(rules.thawed())
    await asyncio.sleep(0)  # Let it begin.
    assert not waiting.done()
    rules.thaw()
    await asyncio.wait_for(waiting, 5)


def test_what_was_scripted_but_never_happened_is_told(rules: Rulebook) -> None:
    rules.add(OnMessage(LoseAck()), times=1)
    rules.add(OnMessage(AckError(463), to=BOB))  # Standing rules may well be precautions.
    assert rules.never_applied == (OnMessage(LoseAck()),)
    rules.on_message(ALICE)
    assert not rules.never_applied


@pytest.mark.parametrize("times", [0, -1])
def test_a_rule_that_could_never_apply_is_refused(rules: Rulebook, times: int) -> None:
    with pytest.raises(ValueError, match="times is none"):
        rules.add(OnMessage(LoseAck()), times=times)


@pytest.mark.parametrize("number", ["+15551110001", "1555 1110001", "15551110001@s.whatsapp.net"])
def test_a_number_that_could_never_match_is_refused(rules: Rulebook, number: str) -> None:
    with pytest.raises(ValueError, match="digits only"):
        rules.add(OnMessage(LoseAck(), to=number))
