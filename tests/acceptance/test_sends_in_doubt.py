"""Sends whose answer never came: nobody knows, so they are counted, and made once more at most."""

import os

import pytest

from tests.acceptance.fate import (
    AFTER_SILENCE,
    SENT_ONCE,
    SOON,
    Fate,
    applied,
    fates,
    job,
    publish,
    resent,
)
from tests.acceptance.rig import Rig
from tests.whatsapp_server.rules import (
    Delay,
    DelayAck,
    DropAfter,
    DropBefore,
    LoseAck,
    LoseMessage,
    OnMessage,
    OnQuery,
    Query,
)
from whatsapp_worker.settings.rules import SHORTEST_SEND_TIMEOUT
from whatsapp_worker.whatsapp.states import WhatsAppState

IN_DOUBT = "whatsapp_sends_in_doubt_total"

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

waits_75_seconds = pytest.mark.timeout(180)


@waits_75_seconds
async def test_a_lost_acknowledgement_is_in_doubt_and_holds_others_up_only_meanwhile(
    rig: Rig,
) -> None:
    stuck, behind = job(rig), [job(rig) for _ in range(4)]
    lost = rig.server.rules.add(OnMessage(LoseAck(), to=stuck.to.number), times=1)
    async with rig.online(WHATSAPP_PREFETCH_COUNT="3") as daemon:
        await publish(rig, stuck, *behind)
        await applied(lost)
        for path in ("/healthz", "/livez", "/readyz", "/metrics"):
            assert await daemon.status(path, 200)
        await daemon.is_in(WhatsAppState.ONLINE)
        assert not any(each.to.texts for each in behind)
        found = await fates(rig, [stuck, *behind], daemon, within=AFTER_SILENCE)
        assert found == [resent(read=2), *[SENT_ONCE] * len(behind)]
        outcomes = [line["outcome"] for line in daemon.log() if line.get("event") == "job"]
        assert outcomes == ["retry", *["sent"] * (len(behind) + 1)]
        assert await daemon.metric(IN_DOUBT) == 1


@waits_75_seconds
async def test_a_send_in_doubt_is_parked_where_the_operator_wants_that(rig: Rig) -> None:
    stuck = job(rig)
    rig.server.rules.add(OnMessage(LoseAck(), to=stuck.to.number), times=1)
    async with rig.online(ON_UNKNOWN="park") as daemon:
        await publish(rig, stuck)
        (found,) = await fates(rig, [stuck], daemon, within=AFTER_SILENCE)
    reason = "unknown_outcome"
    assert found == Fate((f"dead_letter {reason}",), 1, letter=reason, state="DEAD", unknown=1)


@waits_75_seconds
async def test_a_message_that_vanished_is_sent_once_more_and_read_once(rig: Rig) -> None:
    lost = job(rig)
    rig.server.rules.add(OnMessage(LoseMessage(), to=lost.to.number), times=1)
    async with rig.online() as daemon:
        await publish(rig, lost)
        assert await fates(rig, [lost], daemon, within=AFTER_SILENCE) == [resent(read=1)]


async def test_a_late_acknowledgement_leaves_no_doubt(rig: Rig) -> None:
    late, behind = job(rig), job(rig)
    rig.server.rules.add(OnMessage(DelayAck(20.0), to=late.to.number), times=1)
    async with rig.online() as daemon:
        await publish(rig, late, behind)
        assert await fates(rig, [late, behind], daemon) == [SENT_ONCE] * 2
        assert await daemon.metric(IN_DOUBT) == 0


async def test_a_short_break_before_the_acknowledgement_leaves_no_doubt(rig: Rig) -> None:
    """The library sends the same frame again after a quick reconnect (measured)."""
    reset, lost, closed = job(rig), job(rig), job(rig)
    rig.server.rules.add(OnMessage(DropAfter(), to=reset.to.number), times=1)
    rig.server.rules.add(OnMessage(DropBefore(), to=lost.to.number), times=1)
    unanswered = rig.server.rules.add(OnMessage(LoseAck(), to=closed.to.number), times=1)
    async with rig.online() as daemon:
        await publish(rig, reset, lost)
        assert await fates(rig, [reset, lost], daemon) == [SENT_ONCE] * 2
        await publish(rig, closed)
        await applied(unanswered)
        await rig.server.stream_error(code=503)
        assert await fates(rig, [closed], daemon) == [SENT_ONCE]
        await daemon.is_in(WhatsAppState.ONLINE)
        assert await daemon.metric(IN_DOUBT) == 0
    for each in (reset, lost, closed):
        (letter,) = each.to.inbox
        assert len(rig.server.journal.find("message", id=letter.id)) == 2


async def test_a_long_break_before_the_acknowledgement_is_in_doubt(rig: Rig) -> None:
    """The library gives up on the answer after 5 s without a connection (measured)."""
    one = job(rig)
    unanswered = rig.server.rules.add(OnMessage(LoseAck(), to=one.to.number), times=1)
    async with rig.online() as daemon:
        await publish(rig, one)
        await applied(unanswered)
        rig.server.go_away()
        await daemon.job(one.planned, "retry")
        await daemon.is_in(WhatsAppState.RECONNECTING)
        rig.server.come_back()
        assert await fates(rig, [one], daemon) == [resent(read=2)]


async def test_a_logout_before_the_acknowledgement_is_in_doubt_until_somebody_pairs_again(
    rig: Rig,
) -> None:
    one = job(rig)
    unanswered = rig.server.rules.add(OnMessage(LoseAck(), to=one.to.number), times=1)
    async with rig.online() as daemon:
        await publish(rig, one)
        await applied(unanswered)
        await rig.server.unlink(rig.owner)
        await daemon.job(one.planned, "retry")
        await daemon.pair()
        assert WhatsAppState.LOGGED_OUT in daemon.visited()
        assert await fates(rig, [one], daemon) == [resent(read=2)]


@waits_75_seconds
async def test_a_send_that_takes_too_long_ends_the_process_and_is_in_doubt_afterwards(
    rig: Rig,
) -> None:
    """Slow answers add up to more than SEND_TIMEOUT, though the library waits 75 s for each."""
    one, behind = job(rig), job(rig)
    rig.server.rules.add(OnQuery(Query.USYNC, Delay(15.0)), times=1)
    rig.server.rules.add(OnMessage(LoseAck(), to=one.to.number), times=1)
    async with rig.online(SEND_TIMEOUT=f"{SHORTEST_SEND_TIMEOUT:g}s") as first:
        await publish(rig, one, behind)
        assert await first.exit_code(AFTER_SILENCE) == os.EX_TEMPFAIL
    async with rig.daemon() as second:
        await second.is_in(WhatsAppState.ONLINE)
        assert await fates(rig, [one, behind], first, second) == [resent(read=2), SENT_ONCE]


async def test_a_stop_waits_for_the_acknowledgement(rig: Rig) -> None:
    one, behind = job(rig), job(rig)
    late = rig.server.rules.add(OnMessage(DelayAck(5.0), to=one.to.number), times=1)
    async with rig.online() as first:
        await publish(rig, one, behind)
        await applied(late)
        assert await first.stop(SOON) == os.EX_OK
    assert (one.to.texts, behind.to.texts) == ([one.planned.text], [])
    async with rig.daemon() as second:
        assert await fates(rig, [one, behind], first, second) == [SENT_ONCE] * 2


async def test_a_send_that_was_killed_is_in_doubt_after_the_restart(rig: Rig) -> None:
    read, unread = job(rig), job(rig)
    delivered = rig.server.rules.add(OnMessage(LoseAck(), to=read.to.number), times=1)
    vanished = rig.server.rules.add(OnMessage(LoseMessage(), to=unread.to.number), times=1)
    async with rig.online() as first:
        await publish(rig, read)
        await applied(delivered)
        first.kill()
    async with rig.daemon() as second:
        assert await fates(rig, [read], first, second) == [resent(read=2)]
        await publish(rig, unread)
        await applied(vanished)
        second.kill()
    async with rig.daemon() as third:
        assert await fates(rig, [unread], second, third) == [resent(read=1)]
        assert await fates(rig, [read], first, second, third) == [resent(read=2)]


async def test_a_session_that_is_taken_over_before_the_acknowledgement_is_in_doubt(
    rig: Rig,
) -> None:
    """The worker hangs up then, which ends the library's wait (measured)."""
    one = job(rig)
    unanswered = rig.server.rules.add(OnMessage(LoseAck(), to=one.to.number), times=1)
    async with rig.online() as first:
        await publish(rig, one)
        await applied(unanswered)
        await rig.server.take_over()
        await first.is_in(WhatsAppState.REPLACED)
        await first.job(one.planned, "retry")
        assert await first.stop() == os.EX_OK
    async with rig.daemon() as second:
        assert await fates(rig, [one], first, second) == [resent(read=2)]
