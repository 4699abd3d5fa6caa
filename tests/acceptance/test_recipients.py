"""What recipients read is what was published, on however many devices they read it."""

import pytest

from tests.acceptance.fate import SENT_ONCE, SOON, Job, fates, job, publish
from tests.acceptance.rig import Rig
from tests.support.eventually import eventually
from tests.support.privacy import TOKEN
from tests.whatsapp_server.people import Contact, Letter

LONGEST = 4096
"""Characters a text may have (seed 003)."""

TEXTS = (
    "Oi! \N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5} "
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET} "
    "\N{REGIONAL INDICATOR SYMBOL LETTER B}\N{REGIONAL INDICATOR SYMBOL LETTER R}",
    "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627 123 \u2068Ana\u2069!",
    "first line\n\n  third line\twith a tab\r\nlast line \n",
    "e\N{COMBINING ACUTE ACCENT} is not \N{LATIN SMALL LETTER E WITH ACUTE}",
    "@12345 @15550109999 and @everyone: nobody is mentioned",
    "*bold* _italic_ ~struck~ ```code``` > quote & <b>tags</b> %41 \\n {0}",
    "https://example.com/?a=1&b=2 is no link with a preview",
    "\N{MOTOR SCOOTER}" * (LONGEST - len(TOKEN) - 5),
)

WRITTEN = (
    "+1 (555) {0}-{1}",
    "+1-555-{0}-{1}",
    " +1.555.{0}.{1} ",
    "+1\u00a0555\u00a0{0}\u2011{1}",
)
"""How people write a number, of which {0} and {1} are the last three and four digits."""

pytestmark = pytest.mark.timeout(120)


async def test_what_is_read_is_exactly_what_was_published(rig: Rig) -> None:
    one, three = rig.contact(), rig.contact(devices=3)
    jobs = [
        Job(to, rig.envelope(to, f"{TOKEN}{number:04x} {text}"))
        for number, text in enumerate(TEXTS)
        for to in (one, three)
    ]
    async with rig.online() as daemon:
        await publish(rig, *jobs)
        assert await fates(rig, jobs, daemon) == [SENT_ONCE] * len(jobs)
    assert max(len(each.planned.text) for each in jobs) == LONGEST
    for to in (one, three):
        published = [each.planned.text for each in jobs if each.to is to]
        for device in range(len(to.parties)):
            assert [letter.text for letter in _on(to, device)] == published
        # A text with a mention or a link preview would be an `extendedTextMessage`.
        assert {letter.kind for letter in to.inbox} == {"conversation"}
        assert not {"bot"} & {tag for letter in to.inbox for tag in letter.extras}
    copies = [letter.text for letter in rig.owner.phone.inbox]
    assert copies == [each.planned.text for each in jobs]


@pytest.mark.long
async def test_a_number_is_reached_however_it_is_written(rig: Rig) -> None:
    to = rig.contact()
    parts = (to.number[4:7], to.number[7:])
    jobs = [Job(to, rig.planner.good(destination=way.format(*parts))) for way in WRITTEN]
    async with rig.online() as daemon:
        await publish(rig, *jobs)
        assert await fates(rig, jobs, daemon) == [SENT_ONCE] * len(jobs)


@pytest.mark.long
async def test_answers_and_receipts_of_recipients_disturb_nothing(rig: Rig) -> None:
    alice, stranger = rig.contact(devices=2, receipts=True), rig.contact()
    first, second, third = job(rig, alice), job(rig, alice), job(rig, alice)
    async with rig.online() as daemon:
        await publish(rig, first)
        assert await fates(rig, [first], daemon) == [SENT_ONCE]
        for kind in ("delivered", "read", "played", "server-error"):
            await rig.server.receipt(alice, alice.inbox[0], kind)
        await rig.server.say(alice, "thanks")
        await rig.server.say(stranger, "who is this?")
        await _all_taken(rig)
        await publish(rig, second)
        assert await fates(rig, [second], daemon) == [SENT_ONCE]
        # Once her phone has answered, the session with it needs no more introduction.
        assert [letter.encryption for letter in _on(alice, 0)] == ["pkmsg", "msg"]

        await rig.server.ask_retry(alice, alice.inbox[0])
        again = await eventually(lambda: _on(alice, 0)[2:], "it is encrypted again", SOON)
        assert [(each.id, each.text) for each in again] == [(alice.inbox[0].id, first.planned.text)]
        await publish(rig, third)
        assert await fates(rig, [first, second, third], daemon) == [SENT_ONCE] * 3
        assert await daemon.stop() == 0
    assert stranger.texts == []


async def _all_taken(rig: Rig) -> None:
    """Return when the client has confirmed all that people sent to it."""
    (device,) = rig.server.devices
    await eventually(lambda: not device.waiting, "the client has taken everything", SOON)


def _on(person: Contact, device: int) -> list[Letter]:
    """What one of a person's devices shows."""
    return [letter for letter in person.inbox if letter.device == device]
