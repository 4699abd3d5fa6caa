"""Messages that WhatsApp refuses, or that surely never left: nobody reads them by mistake."""

from dataclasses import replace

import pytest

from tests.acceptance.fate import (
    AFTER_SILENCE,
    SENT_ONCE,
    Fate,
    dead,
    fates,
    job,
    lines,
    publish,
    retried,
)
from tests.acceptance.rig import Rig
from tests.whatsapp_server.rules import AckError, ErrorReply, OnMessage, OnQuery, Query, Silence
from tests.whatsapp_server.signal_protocol import Bundle, Party

FATES = {
    **dict.fromkeys((400, 401, 403, 404, 405, 408, 421, 475), dead("refused")),
    **dict.fromkeys((429, 463, 479), retried("throttled")),
    **dict.fromkeys((500, 503), retried("server_error")),
}
"""What becomes of a message whose first acknowledgement is an error of this code."""

FOR_NOBODY = "encrypted for no device of its recipient"

FIRST_RUNG = 1.0
"""Seconds, of RETRY_DELAYS."""

long = pytest.mark.long
waits_75_seconds = pytest.mark.timeout(180)

pytestmark = pytest.mark.timeout(120)


class Unsigned(Party):
    """A device whose keys nobody can trust, so that nobody can write to it."""

    def bundle(self, *, one_time: bool = True) -> Bundle:
        return replace(super().bundle(one_time=one_time), signature=bytes(64))


@long
async def test_each_error_in_an_acknowledgement_has_its_fate(rig: Rig) -> None:
    jobs, others = {}, []
    for code in FATES:
        jobs[code] = job(rig)
        rig.server.rules.add(OnMessage(AckError(code), to=jobs[code].to.number), times=1)
        # Three throttled ones in a row, with no success between them, would make it pause.
        others.append(job(rig))
    async with rig.online() as daemon:
        for pair in zip(jobs.values(), others, strict=True):
            await publish(rig, *pair)
        found = dict(zip(FATES, await fates(rig, list(jobs.values()), daemon), strict=True))
        assert found == FATES
        assert await fates(rig, others, daemon) == [SENT_ONCE] * len(others)
        first = {code: lines(each, daemon)[0] for code, each in jobs.items()}
        waits = {code: line.get("retry_in_seconds", 0.0) for code, line in first.items()}
        assert {code for code, seconds in waits.items() if seconds > FIRST_RUNG} == {429, 463, 479}


async def test_a_number_without_whatsapp_is_dead_lettered_and_holds_nobody_up(rig: Rig) -> None:
    nobody = job(rig, rig.contact(registered=False))
    somebody = job(rig)
    async with rig.online() as daemon:
        await publish(rig, nobody, somebody)
        assert await fates(rig, [nobody, somebody], daemon) == [dead("not_on_whatsapp"), SENT_ONCE]


@long
async def test_a_recipient_who_cannot_be_looked_up_is_tried_again(rig: Rig) -> None:
    limited, failed = job(rig), job(rig)
    async with rig.online() as daemon:
        rig.server.rules.add(OnQuery(Query.USYNC, ErrorReply(429, "rate-overlimit")), times=1)
        await publish(rig, limited)
        assert await fates(rig, [limited], daemon) == [retried("throttled")]
        rig.server.rules.add(OnQuery(Query.USYNC, ErrorReply(500)), times=1)
        await publish(rig, failed)
        assert await fates(rig, [failed], daemon) == [retried("network")]


@long
@waits_75_seconds
async def test_a_lookup_that_is_never_answered_is_tried_again(rig: Rig) -> None:
    one = job(rig)
    async with rig.online() as daemon:
        rig.server.rules.add(OnQuery(Query.USYNC, Silence()), times=1)
        await publish(rig, one)
        assert await fates(rig, [one], daemon, within=AFTER_SILENCE) == [retried("network")]


async def test_a_message_encrypted_for_nobody_is_not_taken_for_sent(rig: Rig) -> None:
    """The library sends it empty and says all is well when it gets no keys of the recipient."""
    one = job(rig, rig.contact(devices=2))
    async with rig.online() as daemon:
        rig.server.rules.add(OnQuery(Query.PREKEYS, ErrorReply(503)), times=1)
        await publish(rig, one)
        assert await fates(rig, [one], daemon) == [retried("no_device")]
    assert [each.what for each in rig.server.anomalies] == [FOR_NOBODY]


@long
@waits_75_seconds
async def test_keys_that_never_come_make_no_message_sent(rig: Rig) -> None:
    one = job(rig)
    async with rig.online() as daemon:
        rig.server.rules.add(OnQuery(Query.PREKEYS, Silence()), times=1)
        await publish(rig, one)
        assert await fates(rig, [one], daemon, within=AFTER_SILENCE) == [retried("no_device")]
    assert [each.what for each in rig.server.anomalies] == [FOR_NOBODY]


@long
async def test_a_message_that_the_phone_can_read_is_sent_though_a_computer_cannot(
    rig: Rig,
) -> None:
    one = job(rig, rig.contact(devices=2))
    one.to.parties = (one.to.parties[0], Unsigned())
    async with rig.online() as daemon:
        await publish(rig, one)
        assert await fates(rig, [one], daemon) == [SENT_ONCE]
    assert [letter.device for letter in one.to.inbox] == [0]


@long
async def test_a_message_that_only_a_computer_can_read_is_in_doubt(rig: Rig) -> None:
    """Its recipient may have read it there, so it is sent once more at most, and counted."""
    one = job(rig, rig.contact(devices=2))
    one.to.parties = (Unsigned(), one.to.parties[1])
    async with rig.online() as daemon:
        await publish(rig, one)
        (found,) = await fates(rig, [one], daemon)
    doubt = "unknown_outcome"
    log = (f"retry {doubt}", f"dead_letter {doubt}")
    assert found == Fate(log, read=2, letter=doubt, state="DEAD", unknown=2)
