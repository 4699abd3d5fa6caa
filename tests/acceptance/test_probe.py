"""What the library says about a send that cannot begin, and what we make of it.

The daemon sends nothing unless it is online, so only a connection lost at the wrong moment shows it
these words; the library alone says them at once.
"""

import pytest

from tests.acceptance.probing import Probe, probe
from tests.acceptance.rig import Rig
from tests.support.eventually import eventually
from tests.whatsapp_server.people import Contact
from whatsapp_worker.errors import ErrorType, PauseReason, Transient, Unavailable
from whatsapp_worker.whatsapp import events

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


async def test_a_send_that_cannot_begin_means_waiting(rig: Rig) -> None:
    known, stranger = rig.contact(), rig.contact()
    async with probe(rig) as library:
        await _waits(library, known)  # It never connected.
        await library.ask("connect")
        code = await library.hears(events.CodeShown)
        await _waits(library, known)  # Nobody has linked it.
        await rig.server.scan(code["qr"], rig.owner)
        await library.hears(events.Online)
        assert await library.ask("text", known.number, "hello") is None
        rig.server.go_away()
        await library.hears(events.Offline)
        await _waits(library, known)  # It has all it needs but the connection.
        await _waits(library, stranger)  # It would have to ask for everything.
        await library.ask("stop")
        await _waits(library, known)
    rig.server.come_back()
    async with probe(rig) as library:
        await library.online(rig)
        rig.server.go_away()
        await library.hears(events.Offline)
        await _waits(library, known)  # It has the address, not the list of devices.
    rig.server.come_back()
    async with probe(rig) as library:
        await library.online(rig)
        await rig.server.unlink(rig.owner)
        await library.hears(events.LoggedOut)
        # The library hangs up by itself; a send that is quicker is cut off, and not sent either.
        found = await library.ask("text", known.number, "too early")
        cut_off = isinstance(found, Transient) and found.error_type is ErrorType.NETWORK
        assert cut_off or isinstance(found, Unavailable)
        await eventually(lambda: _waits(library, known), "the library has hung up")
    assert (known.texts, stranger.texts) == (["hello"], [])


async def _waits(library: Probe, to: Contact) -> bool:
    found = await library.ask("text", to.number, "too early")
    assert isinstance(found, Unavailable)
    assert found.reason is PauseReason.WHATSAPP
    return True
