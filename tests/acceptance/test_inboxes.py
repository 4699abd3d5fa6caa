"""The arithmetic after a campaign notices each way to break the promise: inboxes are invented."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

from tests.acceptance.inboxes import Verdict, judge, number_of
from tests.integration.messages import Planned, Planner
from tests.integration.reckoning import LedgerFile
from whatsapp_worker.amqp.dead_letters import Entry

SECRET = b"of a ledger"
ALICE, BOB = "15550001001", "15550001002"

Inboxes = dict[str, list[str | None]]


def published() -> list[Planned]:
    """Two messages to each of two people, and one to somebody who is not on WhatsApp."""
    planner = Planner(Random(1))
    planned = [planner.good(destination=f"+{number}") for number in (ALICE, BOB, ALICE, BOB)]
    nobody = planner.good(destination="+15550001003")
    return [*planned, replace(nobody, reason="not_on_whatsapp")]


def read_rightly(planned: Sequence[Planned]) -> Inboxes:
    inboxes: Inboxes = {ALICE: [], BOB: []}
    for each in planned:
        if each.sendable:
            inboxes[number_of(each)].append(each.text)
    return inboxes


def letter(planned: Planned, reason: str) -> Entry:
    facts = (None,) * 4
    return Entry(0, planned.message_id, None, reason, *facts[:3], 1, 0, *facts[:2], planned.body)


def ledger_of(planned: Sequence[Planned], *doubtful: Planned) -> LedgerFile:
    doubts = {each.message_id for each in doubtful}
    jobs = {each.ledger_key(SECRET): ("SENT", int(each.key in doubts), False) for each in planned}
    return LedgerFile(jobs, SECRET)


def verdict(
    change: Callable[[Inboxes, list[Entry], list[Planned]], None] = lambda *_: None,
    doubtful: Sequence[int] = (),
) -> Verdict:
    """The verdict on a campaign that went well but for this change."""
    planned = published()
    inboxes, letters = read_rightly(planned), [letter(planned[4], planned[4].reason)]
    change(inboxes, letters, planned)
    return judge(planned, inboxes, letters, ledger_of(planned, *(planned[n] for n in doubtful)))


def lose(inboxes: Inboxes, _: list[Entry], planned: list[Planned]) -> None:
    inboxes[ALICE].remove(planned[0].text)


def double(inboxes: Inboxes, _: list[Entry], planned: list[Planned]) -> None:
    inboxes[ALICE].append(planned[0].text)


def triple(inboxes: Inboxes, _: list[Entry], planned: list[Planned]) -> None:
    inboxes[ALICE] += [planned[0].text] * 2


def misdirect(inboxes: Inboxes, _: list[Entry], planned: list[Planned]) -> None:
    inboxes[ALICE].remove(planned[0].text)
    inboxes[BOB].append(planned[0].text)


def also_tell_bob(inboxes: Inboxes, _: list[Entry], planned: list[Planned]) -> None:
    inboxes[BOB].append(planned[0].text)


def invent(inboxes: Inboxes, _: list[Entry], __: list[Planned]) -> None:
    inboxes[BOB].append("nobody published this")


def empty(inboxes: Inboxes, _: list[Entry], __: list[Planned]) -> None:
    inboxes[BOB][0] = None


def park(inboxes: Inboxes, letters: list[Entry], planned: list[Planned]) -> None:
    inboxes[ALICE].remove(planned[0].text)
    letters.append(letter(planned[0], "unknown_outcome"))


def park_and_read(_: Inboxes, letters: list[Entry], planned: list[Planned]) -> None:
    letters.append(letter(planned[0], "unknown_outcome"))


def give_up_and_read(_: Inboxes, letters: list[Entry], planned: list[Planned]) -> None:
    letters.append(letter(planned[0], "server_error"))


def forget_the_letter(_: Inboxes, letters: list[Entry], __: list[Planned]) -> None:
    letters.clear()


def give_another_reason(_: Inboxes, letters: list[Entry], planned: list[Planned]) -> None:
    letters[:] = [letter(planned[4], "throttled")]


@pytest.mark.parametrize(
    ("change", "doubtful"),
    [
        (lambda *_: None, []),
        (double, [0]),
        (park, [0]),
        (park_and_read, [0]),
    ],
    ids=["all well", "twice and in doubt", "parked", "parked and read"],
)
def test_what_the_promise_allows_passes(change: Callable[..., None], doubtful: list[int]) -> None:
    assert verdict(change, doubtful).holds()


@pytest.mark.parametrize(
    ("change", "doubtful"),
    [
        (lose, []),
        (lose, [0]),
        (double, []),
        (double, [2]),
        (triple, [0]),
        (misdirect, [0]),
        (also_tell_bob, [0]),
        (invent, [0, 1]),
        (empty, []),
        (park, []),
        (park_and_read, []),
        (give_up_and_read, [0]),
        (forget_the_letter, []),
        (give_another_reason, []),
    ],
)
def test_whatever_else_happens_fails(change: Callable[..., None], doubtful: list[int]) -> None:
    with pytest.raises(AssertionError):
        verdict(change, doubtful).holds()


def test_the_figures_say_what_happened() -> None:
    def change(inboxes: Inboxes, letters: list[Entry], planned: list[Planned]) -> None:
        double(inboxes, letters, planned)
        letters.append(letter(planned[1], "unknown_outcome"))

    assert verdict(change, [0, 1]).figures() == {
        "confirmed by RabbitMQ": 5,
        "read once": 3,
        "read twice": 1,
        "sends in doubt": 2,
        "dead-lettered": {"not_on_whatsapp": 1, "unknown_outcome": 1},
        "parked and read": 1,
    }
