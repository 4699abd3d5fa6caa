"""What WhatsApp sees of a daemon's connections: new logins, or that nothing happens."""

import asyncio

from tests.acceptance.rig import LinkedDaemon
from tests.support.eventually import eventually
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.whatsapp.keeper import POLL_SECONDS
from whatsapp_worker.whatsapp.states import WhatsAppState

QUIET_SECONDS = 2 * POLL_SECONDS

MENDED_SECONDS = 60.0
"""The library's own pauses are 2, 4, 6 ... seconds; ours follow after 30 s."""


def logins(server: WhatsAppServer) -> int:
    """How often clients were let in."""
    return len(server.journal.find("success"))


async def logged_in_again(server: WhatsAppServer, before: int) -> None:
    """Return when there were more logins than this."""
    await eventually(lambda: logins(server) > before, "a new login", MENDED_SECONDS)


async def stays(state: WhatsAppState, daemon: LinkedDaemon) -> None:
    """For two looks of the daemon at its connection it stays in a state, and nobody dials."""
    dialled = len(daemon.server.dialled)
    await asyncio.sleep(QUIET_SECONDS)  # No fact tells that nothing will happen.
    assert len(daemon.server.dialled) == dialled
    await daemon.is_in(state)
