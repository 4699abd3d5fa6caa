"""The first connection of a process fails: the library tries once, we try again."""

from itertools import pairwise
from time import monotonic

import pytest

from tests.acceptance.rig import LinkedDaemon, Rig
from tests.acceptance.terminal import ask
from tests.support.eventually import eventually
from tests.whatsapp_server.rulebook import Rule
from tests.whatsapp_server.rules import (
    Answer,
    Fail,
    OnDial,
    OnHandshake,
    OnLogin,
    OnUpgrade,
    Refuse,
    Silence,
)
from whatsapp_worker.whatsapp import files
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

WAYS_TO_FAIL = (
    OnDial(Answer(502)),
    OnDial(Refuse()),
    OnUpgrade(Answer(503)),
    OnUpgrade(Answer(403)),
)
"""In the order in which they apply, one for each try."""

TRIES_SECONDS = 120.0
"""Our pauses are 2, 4, 8, 16 s."""

HANDSHAKE_SECONDS = 90.0
"""The library gives a handshake up after 20 s (measured)."""


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_we_dial_again_with_growing_pauses_until_whatsapp_answers(rig: Rig) -> None:
    tries = [rig.server.rules.add(way, times=1) for way in WAYS_TO_FAIL]
    async with rig.daemon() as daemon:
        moments = []
        for attempt in tries:
            await _happens(attempt)
            moments.append(monotonic())
            await _waits_alive(daemon)
        await daemon.is_in(S.PAIRING, TRIES_SECONDS)
        moments.append(monotonic())
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert pauses == sorted(pauses)
        assert set(daemon.visited()) == {S.STARTING, S.PAIRING}
        await daemon.pair()
        assert await daemon.stop() == 0
    assert "Traceback" not in daemon.printed


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_a_handshake_that_is_never_answered_is_given_up_and_made_again(rig: Rig) -> None:
    hanging = rig.server.rules.add(OnHandshake(Silence()), times=1)
    async with rig.daemon() as daemon:
        await _happens(hanging)
        await _waits_alive(daemon)
        await daemon.is_in(S.PAIRING, HANDSHAKE_SECONDS)
        assert set(daemon.visited()) == {S.STARTING, S.PAIRING}
        await daemon.pair()
        assert await daemon.stop() == 0


@pytest.mark.long
async def test_a_login_the_server_has_no_time_for_is_tried_again_by_the_library(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        rig.server.rules.add(OnLogin(Fail(503)), times=2)
        rig.server.drop()
        await daemon.is_in(S.RECONNECTING)
        await daemon.is_in(S.ONLINE)
        assert daemon.visited()[-3:] == [S.ONLINE, S.RECONNECTING, S.ONLINE]
        assert await daemon.stop() == 0
    await rig.publish(job)
    rig.server.rules.add(OnLogin(Fail(500)), times=2)
    async with rig.daemon() as daemon:
        await daemon.is_in(S.ONLINE)
        assert set(daemon.visited()) == {S.STARTING, S.ONLINE}
        await daemon.job(job, "sent")
        assert await daemon.stop() == 0
    assert alice.texts == [job.text]


@pytest.mark.long
@pytest.mark.parametrize("damage", ["no database", "a directory"])
async def test_a_session_database_that_can_not_be_read_is_told_and_mended_by_hand(
    damage: str, rig: Rig
) -> None:
    session = rig.directory / "session"
    session.mkdir(mode=0o700)
    database = files.database(session)
    if damage == "no database":
        database.write_bytes(b"something else " * 1000)
    else:
        database.mkdir()
    async with rig.daemon() as daemon:
        await daemon.is_in(S.FAILED)
        assert await daemon.status("/livez", 200)
        assert "the session database is unusable (restore or delete it)" in daemon.printed
        assert "Traceback" not in daemon.printed
        database.rename(session / "damaged.db")
        await ask(daemon)
        await daemon.is_in(S.PAIRING)
        await daemon.pair()
        assert await daemon.stop() == 0


async def _happens(rule: Rule) -> None:
    await eventually(lambda: rule.applied, str(rule.situation), TRIES_SECONDS)


async def _waits_alive(daemon: LinkedDaemon) -> None:
    await daemon.is_in(S.STARTING)
    assert await daemon.status("/livez", 200)
