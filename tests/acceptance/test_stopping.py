"""SIGTERM ends the daemon in time whatever WhatsApp does, and the next one finds everything."""

import pytest

from tests.acceptance.rig import LinkedDaemon, Rig
from tests.support.eventually import eventually
from tests.whatsapp_server.pairing import NotLinked
from tests.whatsapp_server.rules import (
    BadHmac,
    DelayAck,
    Fail,
    OnHandshake,
    OnLogin,
    OnMessage,
    OnPairing,
    Silence,
)
from whatsapp_worker.whatsapp import files
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

STOP_SECONDS = 30.0
"""Far less than the 100 s the README asks Kubernetes for; native threads get 5 s of it."""

REFUSALS = {
    S.RESTRICTED: Fail(400),
    S.BANNED: Fail(402, code=101, expire=3600),
    S.OUTDATED: Fail(405),
    S.LOGGED_OUT: Fail(401),  # The last one: it costs the pairing.
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


async def test_it_stops_in_time_before_a_phone_is_linked(rig: Rig) -> None:
    session = rig.directory / "session"
    session.mkdir(mode=0o700)
    files.database(session).write_bytes(b"something else " * 1000)
    async with rig.daemon() as daemon:
        await _stops_in_time(daemon, S.FAILED)
    files.database(session).unlink()
    hanging = rig.server.rules.add(OnHandshake(Silence()), times=1)
    async with rig.daemon() as daemon:
        await eventually(lambda: hanging.applied, "the handshake hangs", 60)
        await _stops_in_time(daemon, S.STARTING)
    async with rig.daemon() as daemon:
        await daemon.is_in(S.PAIRING)
        await _stops_in_time(daemon, S.PAIRING)
    async with rig.daemon() as daemon:
        rig.server.rules.add(OnPairing(BadHmac()), times=1)
        with pytest.raises(NotLinked):
            await rig.server.scan((await daemon.code()).qr or "", rig.owner)
        await daemon.says("no phone was linked")
        await _stops_in_time(daemon, S.PAIRING)
    async with rig.online() as daemon:
        await _stops_in_time(daemon, S.ONLINE)


async def test_it_stops_in_time_when_the_connection_is_lost(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        rig.server.go_away()
        await daemon.is_in(S.RECONNECTING)
        await rig.publish(job)
        await _stops_in_time(daemon, S.RECONNECTING)
    async with rig.daemon() as daemon:
        await eventually(lambda: "WhatsApp cannot be reached" in daemon.printed, "in vain", 60)
        await _stops_in_time(daemon, S.STARTING)
    assert alice.texts == []
    rig.server.come_back()
    async with rig.daemon() as daemon:
        await daemon.job(job, "sent")
        await rig.server.take_over()
        await daemon.is_in(S.REPLACED)
        await _stops_in_time(daemon, S.REPLACED)
    async with rig.daemon() as daemon:
        await daemon.is_in(S.ONLINE)
        await _stops_in_time(daemon, S.ONLINE)
    assert alice.texts == [job.text]


async def test_it_stops_in_time_when_it_is_refused(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        await _stops_in_time(daemon, S.ONLINE)
    await rig.publish(job)
    for state, refusal in REFUSALS.items():
        rig.server.rules.add(OnLogin(refusal), times=1)
        async with rig.daemon() as daemon:
            await _stops_in_time(daemon, state)
    assert alice.texts == []
    async with rig.online() as daemon:
        await daemon.job(job, "sent")
        await _stops_in_time(daemon, S.ONLINE)
    assert alice.texts == [job.text]


async def test_a_send_under_way_is_finished_before_it_stops(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        rig.server.rules.add(OnMessage(DelayAck(3)), times=1)
        await rig.publish(job)
        await eventually(lambda: alice.texts, "a send is under way", 30)
        await _stops_in_time(daemon, S.ONLINE)
        await daemon.job(job, "sent", 1)
    later = rig.envelope(alice)
    await rig.publish(later)
    async with rig.daemon() as daemon:
        await daemon.job(later, "sent")
        await _stops_in_time(daemon, S.ONLINE)
    assert alice.texts == [job.text, later.text]


async def _stops_in_time(daemon: LinkedDaemon, state: WhatsAppState) -> None:
    """Stop it as soon as it is in a state; in some it is not for long."""
    await eventually(lambda: daemon.visited()[-1:] == [state], f"it is {state}", 60)
    assert await daemon.stop(STOP_SECONDS) == 0
    assert daemon.visited()[-1] == S.STOPPED
    assert "Traceback" not in daemon.printed
