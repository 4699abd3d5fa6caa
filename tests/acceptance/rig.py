"""The test rig: a WhatsApp server, the person who owns the account, and the daemon."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.acceptance.screen import read_qr
from tests.integration.campaign import Publisher, Watched, worker
from tests.integration.messages import Planned, Planner
from tests.support.eventually import eventually
from tests.whatsapp_server.people import Account, Contact
from tests.whatsapp_server.server import WhatsAppServer
from whatsapp_worker.cli.status import ask
from whatsapp_worker.masking import mask
from whatsapp_worker.whatsapp import files, pairing_socket
from whatsapp_worker.whatsapp.pairing import Notice
from whatsapp_worker.whatsapp.states import WhatsAppState

OWNER = "15550000001"
"""The number of the account the daemon sends for."""

FIGURES = "figures"
"""The property of a test's report under which the run prints what it counted."""

LOGIN_SECONDS = 60.0
"""Pairing and login take 0.3 s alone (measured), and far longer among many others on two cores."""

SETTINGS = {
    "WHATSAPP_SENDER": "neonize",
    "WHATSAPP_SEND_INTERVAL": "0",
    "READY_REQUIRES_WHATSAPP": "true",
}


@dataclass(frozen=True, slots=True)
class LinkedDaemon(Watched):
    """The daemon with the real library.

    Attributes:
        server: the WhatsApp it talks to.
        owner: whose phone links it.
    """

    server: WhatsAppServer
    owner: Account

    async def code(self, phone: str | None = None) -> Notice:
        """The newest code to link it with, as `whatsapp-worker pair` would be shown it.

        Args:
            phone: digits of the phone to type a code on; None for a QR code alone.
        """

        def wanted(notice: Notice) -> bool:
            return bool(notice.phone_code if phone else notice.qr)

        return await self._notice(phone, wanted)

    async def pair(self) -> None:
        """Have the owner scan the code it shows, and wait until it is online."""
        await self.server.scan((await self.code()).qr or "", self.owner)
        await self.is_in(WhatsAppState.ONLINE)

    async def scan_the_screen(self) -> None:
        """Have the owner scan the code it printed, as a camera sees it."""
        shown = await eventually(lambda: read_qr(self.printed), "a QR code is drawn", LOGIN_SECONDS)
        await self.server.scan(shown, self.owner)

    async def is_in(self, state: WhatsAppState, within: float = LOGIN_SECONDS) -> None:
        """Return when every place that tells the state of WhatsApp tells this one.

        These are /healthz, /readyz (readiness needs WhatsApp here), /metrics and `status`.
        """
        # The log first: to ask all the others again and again takes a core.
        await eventually(lambda: self.visited()[-1:] == [state], f"it says {state}", within)
        await eventually(lambda: self.tells(state), f"it tells everywhere: {state}", within)

    async def tells(self, state: WhatsAppState) -> bool:
        """Whether it tells this state everywhere; see `is_in`."""
        online = state is WhatsAppState.ONLINE
        assert await self._told() == {
            "healthz": state,
            "readyz": 200 if online else 503,
            "metrics": [state],
            "status": state,
            "paused": [] if online else ["whatsapp"],
        }
        return True

    def visited(self) -> list[str]:
        """The states it was in, in order, as its log tells them."""
        return [line["whatsapp_state"] for line in self.log() if "whatsapp_state" in line]

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log so far."""
        lines = self.printed.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    async def job(self, planned: Planned, outcome: str, within: float = 30.0) -> dict[str, Any]:
        """Return the log line that says that a delivery of this job had this outcome."""

        shown = mask(planned.message_id)  # Some look as if they held a phone number.

        def told() -> dict[str, Any] | None:
            ours = [each for each in self.log() if each.get("message_id") == shown]
            return next((each for each in ours if each["outcome"] == outcome), None)

        found: dict[str, Any] = await eventually(told, f"the job is {outcome}", within)
        return found

    async def _told(self) -> dict[str, object]:
        _, health = await self.get("/healthz")
        code, _ = await self.get("/readyz")
        _, metrics = await self.get("/metrics")
        status = await asyncio.to_thread(ask, self.process.url)
        return {
            "healthz": json.loads(health)["whatsapp"],
            "readyz": code,
            "metrics": [
                state
                for state in WhatsAppState
                if f'whatsapp_state{{state="{state}"}} 1.0' in metrics
            ],
            "status": status.whatsapp,
            "paused": status.paused,
        }

    async def _notice(self, phone: str | None, wanted: Callable[[Notice], bool]) -> Notice:
        """Watch the pairing socket until a notice is as wanted."""
        path = files.pairing_socket(self.directory / "session")
        async with asyncio.timeout(LOGIN_SECONDS):
            await eventually(path.exists, "the daemon answers `pair`", LOGIN_SECONDS)
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(pairing_socket.request(phone))
                while True:
                    notice = Notice.from_line(await reader.readline())
                    if wanted(notice):
                        return notice
            finally:
                writer.close()


@dataclass(frozen=True, slots=True)
class Rig:
    """What one test has to itself.

    Attributes:
        server: WhatsApp.
        owner: the person whose account the daemon uses.
        amqp_url: an empty virtual host.
        directory: where the daemon keeps its session; the next one finds it there.
        kept: the directory that keeps what it prints.
        planner: makes envelopes.
        numbers: for contacts, without the part that all invented numbers share.
    """

    server: WhatsAppServer
    owner: Account
    amqp_url: str
    directory: Path
    kept: Path
    planner: Planner
    numbers: Iterator[int] = field(default_factory=lambda: count(1_110_001))

    def contact(self, **given: Any) -> Contact:
        """Somebody new on WhatsApp; arguments as for `WhatsAppServer.add_contact`."""
        return self.server.add_contact(f"1555{next(self.numbers):07d}", **given)

    def envelope(self, to: Contact, text: str = "") -> Planned:
        """An envelope for a contact, to be published."""
        return self.planner.good(destination=f"+{to.number}", text=text)

    async def publish(self, *planned: Planned) -> Publisher:
        """Publish, once a daemon has made the exchange; returns when RabbitMQ has confirmed all."""
        publisher = Publisher(self.amqp_url)
        await publisher.publish(planned)
        assert not publisher.unknown
        return publisher

    @asynccontextmanager
    async def daemon(self, **settings: str) -> AsyncIterator[LinkedDaemon]:
        """Run a daemon, be it linked already or not."""
        given = {**SETTINGS, **self.server.environment, **settings}
        async with worker(self.amqp_url, self.directory, self.kept, **given) as w:
            yield LinkedDaemon(w.process, w.outbox, w.directory, w.kept, self.server, self.owner)

    @asynccontextmanager
    async def online(self, **settings: str) -> AsyncIterator[LinkedDaemon]:
        """Run a daemon that nobody has linked yet, link it, and wait until it is online."""
        async with AsyncExitStack() as opened:
            daemon = await opened.enter_async_context(self.daemon(**settings))
            await daemon.pair()
            yield daemon
