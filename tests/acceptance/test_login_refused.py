"""WhatsApp refuses a login, or ends one: what is told, what becomes of jobs, and the way back."""

import pytest

from tests.acceptance.connections import stays
from tests.acceptance.rig import LinkedDaemon, Rig
from tests.acceptance.terminal import ask, pair_command
from tests.whatsapp_server.rules import Fail, OnLogin
from whatsapp_worker.whatsapp.pairing_client import REFUSED
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

LOGOUTS = {
    401: "this device was unlinked",
    403: "the phone's account is gone or locked",
    406: "WhatsApp ended the login, perhaps for good",
}
RESTRICTIONS = {
    400: "generic",
    409: "bad user agent",
    501: "experimental",
    415: "a code the library lacks",
    418: "a code the library lacks",
}
BANS_THE_LIBRARY_CANNOT_READ = (Fail(402), Fail(402, code=999, expire=3600))

WAITED_OUT_SECONDS = 150.0
"""The shortest ban lasts 65 s, the first pause after another refusal 60 s."""


# The pairing is ended ---------------------------------------------------------------------------


async def test_jobs_wait_for_a_new_phone_when_the_owner_unlinks_the_device(rig: Rig) -> None:
    async with rig.online() as daemon:
        await rig.server.unlink(rig.owner)
        await _logged_out(daemon, "this device was unlinked")
        await _a_job_waits_for_a_phone(rig, daemon)
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_login_that_ends_the_pairing_is_told_with_its_reason(rig: Rig) -> None:
    async with rig.online() as daemon:
        for reason, words in LOGOUTS.items():
            rig.server.rules.add(OnLogin(Fail(reason)), times=1)
            rig.server.drop()
            await _logged_out(daemon, words)
            await _a_job_waits_for_a_phone(rig, daemon)
        assert await daemon.stop() == 0


async def _logged_out(daemon: LinkedDaemon, words: str) -> None:
    """It passes through `logged_out` on its way to new codes."""
    await daemon.is_in(S.PAIRING)
    *_, logged_out, pairing = daemon.visited()
    assert (logged_out, pairing) == (S.LOGGED_OUT, S.PAIRING)
    assert f"whatsapp logged_out: {words}; pair again" in daemon.printed


async def _a_job_waits_for_a_phone(rig: Rig, daemon: LinkedDaemon) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    await rig.publish(job)
    assert alice.texts == []
    await daemon.pair()
    await daemon.job(job, "sent")
    assert alice.texts == [job.text]


# A no, for a while or without an end ------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(180)
async def test_every_other_refusal_is_told_and_a_person_may_try_again(rig: Rig) -> None:
    alice = rig.contact()
    jobs = []
    async with rig.online() as daemon:
        for reason, words in RESTRICTIONS.items():
            rig.server.rules.add(OnLogin(Fail(reason)), times=1)
            rig.server.drop()
            await daemon.is_in(S.RESTRICTED)
            told = [line["message"] for line in daemon.log() if "whatsapp_state" in line]
            assert words in told[-1]
            jobs.append(rig.envelope(alice))
            await rig.publish(jobs[-1])
            assert len(alice.texts) == len(jobs) - 1
            await ask(daemon)
            await daemon.job(jobs[-1], "sent")
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0
    assert alice.texts == [job.text for job in jobs]
    assert "Traceback" not in daemon.printed


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_refusal_without_an_end_is_asked_about_again_slowly(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        rig.server.rules.add(OnLogin(Fail(400)), times=1)
        rig.server.drop()
        await daemon.is_in(S.RESTRICTED)
        await rig.publish(job)
        await stays(S.RESTRICTED, daemon)
        await daemon.is_in(S.ONLINE, WAITED_OUT_SECONDS)
        await daemon.job(job, "sent")
        assert await daemon.stop() == 0
    assert alice.texts == [job.text]


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_ban_is_waited_out_to_its_end(rig: Rig) -> None:
    alice = rig.contact()
    job = rig.envelope(alice)
    async with rig.online() as daemon:
        rig.server.rules.add(OnLogin(Fail(402, code=101, expire=1)), times=1)
        rig.server.drop()
        await daemon.is_in(S.BANNED)
        assert "UTC (send to too many people)" in daemon.printed
        await rig.publish(job)
        await ask(daemon)  # Nobody can shorten it.
        await stays(S.BANNED, daemon)
        assert alice.texts == []
        await daemon.is_in(S.ONLINE, WAITED_OUT_SECONDS)
        await daemon.job(job, "sent")
        assert await daemon.stop() == 0
    assert alice.texts == [job.text]


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_ban_whose_length_can_not_be_read_is_one(rig: Rig) -> None:
    async with rig.online() as daemon:
        assert await daemon.stop() == 0
    for ban in BANS_THE_LIBRARY_CANNOT_READ:
        rig.server.rules.add(OnLogin(ban), times=1)
        async with rig.daemon() as daemon:
            await daemon.is_in(S.BANNED)
            assert "the library could not read for how long" in daemon.printed
            async with pair_command(rig) as pair:
                assert await pair.exit_code() == REFUSED
            await daemon.is_in(S.BANNED)
            assert await daemon.stop() == 0
            assert "Traceback" not in daemon.printed


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_an_outdated_client_waits_for_its_upgrade_and_tries_when_asked(rig: Rig) -> None:
    async with rig.online() as daemon:
        refusal = rig.server.rules.add(OnLogin(Fail(405)), times=2)
        rig.server.drop()
        await daemon.is_in(S.OUTDATED)
        await stays(S.OUTDATED, daemon)
        async with pair_command(rig) as pair:
            assert await pair.exit_code() == REFUSED
        assert refusal.applied == 2
        await daemon.is_in(S.OUTDATED)
        await ask(daemon)
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0
