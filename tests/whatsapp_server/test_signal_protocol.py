"""Sessions of two devices: agreement, order, loss, repetition, forgery."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.whatsapp_server.double_ratchet import (
    FURTHEST,
    RECEIVING_CHAINS,
    DuplicateMessage,
    NotAuthentic,
    TooFarAhead,
)
from tests.whatsapp_server.signal_protocol import NoSession, Party, Untrusted
from tests.whatsapp_server.signal_wire import NotASignalMessage, Undecipherable

ALICE, BOB = "15551110001:0", "15551110002:0"


class Pair:
    """Two devices, of which Alice has Bob's keys."""

    def __init__(self, *, one_time: bool = True) -> None:
        self.alice, self.bob = Party(), Party()
        self.alice.start(BOB, self.bob.bundle(one_time=one_time))

    def from_alice(self, text: bytes) -> tuple[str, bytes]:
        return self.alice.encrypt(BOB, text)

    def from_bob(self, text: bytes) -> tuple[str, bytes]:
        return self.bob.encrypt(ALICE, text)

    def at_bob(self, message: tuple[str, bytes]) -> bytes:
        return self.bob.decrypt(ALICE, *message)

    def at_alice(self, message: tuple[str, bytes]) -> bytes:
        return self.alice.decrypt(BOB, *message)


def acquainted() -> Pair:
    pair = Pair()
    pair.at_bob(pair.from_alice(b"hello"))
    pair.at_alice(pair.from_bob(b"hello yourself"))
    return pair


@pytest.mark.parametrize("one_time", [True, False])
def test_two_strangers_come_to_talk_both_ways(one_time: bool) -> None:
    pair = Pair(one_time=one_time)
    first, second = pair.from_alice(b"one"), pair.from_alice(b"two")
    assert (first[0], second[0]) == ("pkmsg", "pkmsg")
    assert pair.at_bob(first) == b"one"
    answer = pair.from_bob(b"three")
    assert answer[0] == "msg"
    assert pair.at_alice(answer) == b"three"
    third = pair.from_alice(b"four")
    assert third[0] == "msg"
    assert pair.at_bob(third) == b"four"
    assert pair.at_bob(second) == b"two"


def test_a_key_for_one_use_opens_one_session_only() -> None:
    bob = Party()
    bundle = bob.bundle()
    for number, party in enumerate((Party(), Party())):
        party.start(BOB, bundle)
        message = party.encrypt(BOB, b"mine")
        if number == 0:
            assert bob.decrypt(ALICE, *message) == b"mine"
        else:
            with pytest.raises(NoSession, match="one-time key"):
                bob.decrypt("15551110003:0", *message)


def test_a_message_for_a_signed_key_that_was_never_published_is_refused() -> None:
    alice, bob = Party(), Party()
    bundle = bob.bundle()
    alice.start(BOB, replace(bundle, signed=replace(bundle.signed, id=9)))
    with pytest.raises(NoSession, match="signed key"):
        bob.decrypt(ALICE, *alice.encrypt(BOB, b"hello"))


def test_bundles_differ_in_their_key_for_one_use_only() -> None:
    bob = Party()
    first, second = bob.bundle(), bob.bundle()
    assert first.one_time != second.one_time
    assert replace(first, one_time=None) == replace(second, one_time=None)
    assert bob.bundle(one_time=False).one_time is None


def test_a_bundle_that_its_identity_did_not_sign_is_not_used() -> None:
    bundle = replace(Party().bundle(), signature=Party().bundle().signature)
    with pytest.raises(Untrusted):
        Party().start(BOB, bundle)


def test_messages_may_overtake_each_other() -> None:
    pair = acquainted()
    messages = [pair.from_alice(bytes([number])) for number in range(5)]
    for number in (3, 1, 4, 0, 2):
        assert pair.at_bob(messages[number]) == bytes([number])


def test_a_message_may_come_late_after_answers() -> None:
    pair = acquainted()
    late = pair.from_alice(b"late")
    for number in range(RECEIVING_CHAINS - 1):
        assert pair.at_bob(pair.from_alice(bytes([number]))) == bytes([number])
        assert pair.at_alice(pair.from_bob(b"well")) == b"well"
    assert pair.at_bob(late) == b"late"


@pytest.mark.parametrize("overtaken", [False, True])
def test_a_message_is_read_once(overtaken: bool) -> None:
    pair = acquainted()
    message, later = pair.from_alice(b"once"), pair.from_alice(b"later")
    if overtaken:
        pair.at_bob(later)
    assert pair.at_bob(message) == b"once"
    with pytest.raises(DuplicateMessage):
        pair.at_bob(message)


def test_a_first_message_is_read_once_too() -> None:
    pair = Pair()
    message = pair.from_alice(b"once")
    assert pair.at_bob(message) == b"once"
    with pytest.raises(DuplicateMessage):
        pair.at_bob(message)


def test_a_duplicate_of_an_older_session_is_still_a_duplicate() -> None:
    pair = acquainted()
    message = pair.from_alice(b"once")
    pair.at_bob(message)
    pair.alice.start(BOB, pair.bob.bundle())
    assert pair.at_bob(pair.from_alice(b"a new start")) == b"a new start"
    with pytest.raises(DuplicateMessage):
        pair.at_bob(message)


def altered(data: bytes, safe: int = 0) -> Iterator[bytes]:
    """A bit of every byte but the last `safe` turned over, and every end cut off."""
    for at in range(len(data) - safe):
        yield data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    for size in range(len(data)):
        yield data[:size]


def test_no_forgery_is_read_or_does_harm_in_a_session() -> None:
    pair = acquainted()
    kind, data = pair.from_alice(b"the truth")
    for forged in altered(data):
        with pytest.raises(Undecipherable):
            pair.at_bob((kind, forged))
    assert pair.at_bob((kind, data)) == b"the truth"
    assert pair.at_alice(pair.from_bob(b"understood")) == b"understood"


def test_no_forgery_is_read_or_does_harm_before_a_session() -> None:
    pair = Pair()
    kind, data = pair.from_alice(b"the truth")
    # The last five bytes tell a registration number, which nothing authenticates.
    for forged in altered(data, safe=5):
        with pytest.raises(Undecipherable):
            pair.at_bob((kind, forged))
        assert not pair.bob.knows(ALICE)
    assert pair.at_bob((kind, data)) == b"the truth"


@pytest.mark.parametrize(("in_session", "at"), [(True, 4), (False, 6), (False, 41), (False, 79)])
def test_a_public_key_that_is_none_is_refused(in_session: bool, at: int) -> None:
    pair = acquainted() if in_session else Pair()
    kind, data = pair.from_alice(b"the truth")
    assert data[at - 2 : at] == b"\x21\x05"  # 33 bytes: the type and the key.
    with pytest.raises(NotAuthentic):
        pair.at_bob((kind, data[:at] + bytes(32) + data[at + 32 :]))
    assert pair.at_bob((kind, data)) == b"the truth"


@given(st.binary(), st.sampled_from(["msg", "pkmsg"]))
def test_random_bytes_are_refused(data: bytes, kind: str) -> None:
    for content in (data, b"\x33" + data):
        with pytest.raises(NotASignalMessage):
            Party().decrypt(ALICE, kind, content)


def test_a_message_without_a_session_is_refused() -> None:
    pair = acquainted()
    pair.bob.forget(ALICE)
    with pytest.raises(NoSession):
        pair.at_bob(pair.from_alice(b"who is it?"))
    with pytest.raises(NoSession):
        pair.from_bob(b"who is it?")


def test_a_new_session_replaces_a_lost_one() -> None:
    pair = acquainted()
    pair.bob.forget(ALICE)
    pair.alice.start(BOB, pair.bob.bundle())
    assert pair.at_bob(pair.from_alice(b"again")) == b"again"
    assert pair.at_alice(pair.from_bob(b"welcome back")) == b"welcome back"


def test_both_may_begin_at_the_same_time() -> None:
    pair = Pair()
    pair.bob.start(ALICE, pair.alice.bundle())
    crossing = pair.from_alice(b"I first"), pair.from_bob(b"no, I")
    assert pair.at_bob(crossing[0]) == b"I first"
    assert pair.at_alice(crossing[1]) == b"no, I"
    for text in (b"one", b"two"):
        assert pair.at_bob(pair.from_alice(text)) == text
        assert pair.at_alice(pair.from_bob(text)) == text


def test_a_limit_is_set_to_what_may_be_missing() -> None:
    pair = acquainted()
    messages = [pair.from_alice(str(number).encode()) for number in range(FURTHEST + 3)]
    with pytest.raises(TooFarAhead):
        pair.at_bob(messages[FURTHEST + 1])
    assert pair.at_bob(messages[FURTHEST]) == str(FURTHEST).encode()
    # One more is missing now than is remembered: the oldest is given up.
    pair.at_bob(messages[FURTHEST + 2])
    assert pair.at_bob(messages[1]) == b"1"
    with pytest.raises(DuplicateMessage):
        pair.at_bob(messages[0])


def test_a_limit_is_set_to_how_many_ratchet_keys_are_remembered() -> None:
    pair = acquainted()
    pair.at_bob(pair.from_alice(b"in time"))
    late, too_late = pair.from_alice(b"late"), pair.from_alice(b"too late")
    for _ in range(RECEIVING_CHAINS - 1):
        pair.at_alice(pair.from_bob(b"on"))
        pair.at_bob(pair.from_alice(b"and on"))
    assert pair.at_bob(late) == b"late"
    pair.at_alice(pair.from_bob(b"on"))
    pair.at_bob(pair.from_alice(b"and on"))
    with pytest.raises(NotAuthentic):
        pair.at_bob(too_late)


ROUNDS = st.lists(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 9)), max_size=4), max_size=8
)
"""In each round several messages: from Alice?, rounds until it arrives, its place among them."""


@given(ROUNDS)
def test_whatever_the_order_each_message_is_read_once_and_as_sent(
    rounds: list[list[tuple[bool, int, int]]],
) -> None:
    pair = acquainted()
    due: dict[int, list[tuple[int, bool, tuple[str, bytes], bytes]]] = defaultdict(list)
    for now in range(len(rounds) + 3):
        for number, (from_alice, delay, place) in enumerate(
            rounds[now] if now < len(rounds) else []
        ):
            text = f"{now}/{number}".encode()
            message = pair.from_alice(text) if from_alice else pair.from_bob(text)
            due[now + delay].append((place, from_alice, message, text))
        for _, from_alice, message, text in sorted(due.pop(now, [])):
            read = pair.at_bob if from_alice else pair.at_alice
            assert read(message) == text
            with pytest.raises(DuplicateMessage):
                read(message)
    assert not due
