"""A phone is linked by a code to scan or to type, with `whatsapp-worker pair` or without it."""

from contextlib import aclosing
from itertools import pairwise

import pytest

from tests.acceptance.rig import LinkedDaemon, Rig
from tests.acceptance.screen import read_qr
from tests.acceptance.terminal import notices, pair_command
from tests.support.eventually import eventually
from tests.whatsapp_server.pairing import QR_CODES, NotLinked
from tests.whatsapp_server.rules import BadHmac, OnPairing
from whatsapp_worker.whatsapp.pairing import Notice
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

FIRST_CODE_SECONDS, NEXT_CODE_SECONDS = 60, 20
"""How long each QR code is valid (measured)."""

PAUSES_SECONDS = 60.0
"""Between rounds we pause for 2, 8, 32 s."""


# Codes ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_codes_follow_each_other_and_rounds_too_until_somebody_scans(rig: Rig) -> None:
    shown: list[Notice] = []
    async with rig.daemon() as daemon:
        await daemon.is_in(S.PAIRING)
        async with aclosing(notices(daemon)) as told:
            async for notice in told:
                if notice.qr is not None:
                    shown.append(notice)
                if len(shown) > QR_CODES:
                    break
        assert len({notice.qr for notice in shown}) == QR_CODES + 1
        ends = [notice.expires_at or 0.0 for notice in shown]
        valid = [later - earlier for earlier, later in pairwise(ends)]
        assert valid[:-1] == pytest.approx([NEXT_CODE_SECONDS] * (QR_CODES - 1), abs=5)
        assert valid[-1] > FIRST_CODE_SECONDS  # The pause before the next round comes on top.
        assert "no phone was linked; the next code comes in 2 s" in daemon.printed
        await daemon.pair()
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_after_a_round_that_failed_new_codes_come_and_work(rig: Rig) -> None:
    async with rig.daemon() as daemon:
        first = (await daemon.code()).qr
        rig.server.close()
        second = await _another_code(daemon, first)
        rig.server.rules.add(OnPairing(BadHmac()), times=1)
        with pytest.raises(NotLinked):
            await rig.server.scan(second, rig.owner)
        third = await _another_code(daemon, second)
        await rig.server.scan(third, rig.owner)
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0


async def _another_code(daemon: LinkedDaemon, known: str | None) -> str:
    async def another() -> str | None:
        code = (await daemon.code()).qr
        return code if code != known else None

    found: str = await eventually(another, "a new code", PAUSES_SECONDS)
    return found


@pytest.mark.long
async def test_codes_are_drawn_only_where_they_are_wanted(rig: Rig) -> None:
    async with rig.daemon(WHATSAPP_QR="off", READY_REQUIRES_WHATSAPP="false") as daemon:
        assert (await daemon.code()).qr
        assert read_qr(daemon.printed) is None
        await daemon.ready()  # By default a daemon without WhatsApp may still take its part.
        assert daemon.visited()[-1] == S.PAIRING
        assert await daemon.stop() == 0


# A code to type ---------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_phone_named_in_the_settings_is_linked_by_a_typed_code(rig: Rig) -> None:
    async with rig.daemon(WHATSAPP_PAIR_PHONE=f"+{rig.owner.number}") as daemon:
        await daemon.is_in(S.PAIRING)
        code = await _phone_code(daemon)
        await rig.server.type_code(code, rig.owner)
        await daemon.is_in(S.ONLINE)
        assert code not in daemon.printed
        assert await daemon.stop() == 0


async def _phone_code(daemon: LinkedDaemon) -> str:
    async with aclosing(notices(daemon)) as told:
        async for notice in told:
            if notice.phone_code:
                return notice.phone_code
    raise AssertionError("the daemon showed no code to type")


# `whatsapp-worker pair` -------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_pair_beside_a_daemon_shows_its_codes_to_scan_or_to_type(rig: Rig) -> None:
    async with rig.daemon() as daemon:
        await daemon.is_in(S.PAIRING)
        async with pair_command(rig) as pair:
            await rig.server.scan(await pair.qr(), rig.owner)
            assert await pair.exit_code() == 0
        await daemon.is_in(S.ONLINE)

        await rig.server.unlink(rig.owner)
        await daemon.is_in(S.PAIRING)
        async with pair_command(rig, "--phone", f"+{rig.owner.number}") as pair:
            await rig.server.type_code(await pair.phone_code(), rig.owner)
            assert await pair.exit_code() == 0
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_pair_without_a_daemon_links_for_those_to_come(rig: Rig) -> None:
    async with pair_command(rig) as pair:
        await rig.server.scan(await pair.qr(), rig.owner)
        assert await pair.exit_code() == 0
    async with pair_command(rig) as pair:
        assert await pair.exit_code() == 0
        assert "the session is online" in pair.printed
        assert read_qr(pair.printed) is None
    async with rig.daemon() as daemon:
        await daemon.is_in(S.ONLINE)
        assert S.PAIRING not in daemon.visited()
        assert await daemon.stop() == 0
