"""The main job, as its users do it on the first day: link a phone, publish, restart, publish."""

from tests.acceptance.rig import Rig
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState


async def test_a_phone_scans_the_printed_code_and_recipients_read_what_was_published(
    rig: Rig,
) -> None:
    alice, bob = rig.contact(), rig.contact(devices=2)
    before = [rig.envelope(to) for to in (alice, bob, alice)]
    after = [rig.envelope(to) for to in (bob, alice)]

    async with rig.daemon(WHATSAPP_QR="stdout") as daemon:
        await daemon.is_in(S.PAIRING)
        await rig.publish(*before)  # They wait for the phone.
        assert alice.texts == bob.texts == []
        await daemon.scan_the_screen()
        await daemon.is_in(S.ONLINE)
        for each in before:
            await daemon.job(each, "sent")
        assert await daemon.stop() == 0

    async with rig.daemon() as daemon:
        await daemon.is_in(S.ONLINE)
        await rig.publish(*after)
        for each in after:
            await daemon.job(each, "sent")
        assert S.PAIRING not in daemon.visited()
        assert await daemon.stop() == 0

    assert alice.texts == [before[0].text, before[2].text, after[1].text]
    assert bob.texts == [before[1].text, after[0].text]
