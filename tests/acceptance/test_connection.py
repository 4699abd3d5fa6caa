"""The connection to WhatsApp is lost, in every way it can be, and comes back by itself."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.acceptance.connections import MENDED_SECONDS, logged_in_again, logins
from tests.acceptance.rig import LinkedDaemon, Rig
from tests.support.eventually import eventually
from tests.whatsapp_server.rules import MUTED_KEEPALIVE, OnDial, Refuse
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

OVERDUE = "did not let us in within the time allowed"
"""What the log says when we dial ourselves."""

KEEPALIVE_SECONDS = 120.0
"""The first one that stays unanswered is noticed after 30 to 40 s (measured)."""


async def _reset(server: WhatsAppServer) -> None:
    server.drop()


async def _close(server: WhatsAppServer) -> None:
    server.close()


def _stream_error(code: int) -> Callable[[WhatsAppServer], Awaitable[None]]:
    return lambda server: server.stream_error(code=code)


TOLD_BY_THE_LIBRARY = {
    "TCP reset": _reset,
    "close frame": _close,
    "stream error 503": _stream_error(503),
    "unknown stream error": _stream_error(599),
}
TOLD_BY_NOBODY = {"stream error 515": _stream_error(515)}


async def test_however_a_connection_ends_the_jobs_on_their_way_are_sent_once(rig: Rig) -> None:
    alice = rig.contact()
    jobs = []
    async with rig.online() as daemon:
        for lose in (TOLD_BY_THE_LIBRARY | TOLD_BY_NOBODY).values():
            before = logins(rig.server)
            some = [rig.envelope(alice) for _ in range(5)]
            await asyncio.gather(rig.publish(*some), lose(rig.server))
            jobs += some
            await logged_in_again(rig.server, before)
            for job in some:
                await daemon.job(job, "sent")
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0
    assert Counter(alice.texts) == Counter(job.text for job in jobs)  # What is retried comes later.


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_jobs_wait_while_the_library_connects_anew(rig: Rig) -> None:
    async with rig.online() as daemon:
        for lose in TOLD_BY_THE_LIBRARY.values():
            rig.server.rules.add(OnDial(Refuse()), times=2)  # Gives us 6 s to look at it.
            await lose(rig.server)
            await daemon.is_in(S.RECONNECTING)
            await _a_job_waits_for_the_connection(rig, daemon)
        assert await daemon.stop() == 0
    assert OVERDUE not in daemon.printed


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_new_connection_that_fails_without_a_word_is_noticed_and_made_again(
    rig: Rig,
) -> None:
    """After a 515 whatsmeow dials once, tells nobody how that went, and tries no more."""
    async with rig.online() as daemon:
        rig.server.rules.add(OnDial(Refuse()), times=1)
        await rig.server.stream_error(code=515)
        await daemon.is_in(S.RECONNECTING, MENDED_SECONDS)
        await _a_job_waits_for_the_connection(rig, daemon)
        assert OVERDUE in daemon.printed
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_in_a_long_outage_we_dial_ourselves_and_are_back_soon_after_it(rig: Rig) -> None:
    async with rig.online() as daemon:
        rig.server.go_away()
        await daemon.is_in(S.RECONNECTING)
        await eventually(lambda: OVERDUE in daemon.printed, "we dial ourselves", MENDED_SECONDS)
        before = len(rig.server.dialled)
        await eventually(lambda: len(rig.server.dialled) >= before + 2, "in vain", MENDED_SECONDS)
        await daemon.is_in(S.RECONNECTING)
        rig.server.come_back()
        await _a_job_waits_for_the_connection(rig, daemon)
        assert set(daemon.visited()) == {S.STARTING, S.PAIRING, S.RECONNECTING, S.ONLINE}
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_a_server_that_no_longer_answers_keepalives_counts_as_away(rig: Rig) -> None:
    """The library asks every 20 to 30 s and waits 10 s; alone it would connect anew after 3 min."""
    async with rig.online() as daemon:
        muted = rig.server.rules.add(MUTED_KEEPALIVE)
        before = logins(rig.server)
        await daemon.is_in(S.RECONNECTING, KEEPALIVE_SECONDS)
        await _a_job_waits_for_the_connection(rig, daemon)
        assert logins(rig.server) > before
        await daemon.is_in(S.RECONNECTING, KEEPALIVE_SECONDS)
        rig.server.rules.remove(muted)
        await _a_job_waits_for_the_connection(rig, daemon)
        assert await daemon.stop() == 0


async def _a_job_waits_for_the_connection(rig: Rig, daemon: LinkedDaemon) -> None:
    """Publish while offline: nothing is sent until the daemon is online by itself, then once."""
    alice = rig.contact()
    job = rig.envelope(alice)
    await rig.publish(job)
    assert alice.texts == []
    assert daemon.visited()[-1] == S.RECONNECTING
    await daemon.job(job, "sent", MENDED_SECONDS)
    await daemon.is_in(S.ONLINE)
    assert alice.texts == [job.text]
