"""People write back, hundreds of them at a time, and hold up neither sends nor events."""

import pytest

from tests.acceptance.rig import Rig
from tests.support.eventually import eventually
from tests.support.privacy import TOKEN
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState

MESSAGES = 300
"""The library stalls after about 100 events that nobody takes (measured)."""

JOBS = 20


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_hundreds_of_messages_and_receipts_hold_up_neither_sends_nor_events(rig: Rig) -> None:
    """Those who talk are others than those who are written to.

    whatsmeow has no lock between decrypting from and encrypting for the same person, and loses
    messages where both happen at once (tulir/whatsmeow#1168, measured).
    """
    talker, reader = rig.contact(), rig.contact()
    first = rig.envelope(talker)
    jobs = [rig.envelope(reader) for _ in range(JOBS)]
    async with rig.online() as daemon:
        await rig.publish(first)
        await daemon.job(first, "sent")
        for number in range(MESSAGES):
            await rig.server.say(talker, f"{TOKEN}{number:04x} answer")
            await rig.server.receipt(talker, talker.inbox[0], "read")
        await rig.publish(*jobs)
        for job in jobs:
            await daemon.job(job, "sent")
        (device,) = rig.server.devices
        await eventually(lambda: not device.waiting, "it has confirmed everything", 60)
        rig.server.go_away()
        await daemon.is_in(S.RECONNECTING)
        rig.server.come_back()
        await daemon.is_in(S.ONLINE)
        assert await daemon.stop() == 0
    assert reader.texts == [job.text for job in jobs]
    assert talker.texts == [first.text]
