"""A WhatsApp library and a clock for tests: what the native half would do, on command."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.settings import QrMode, Settings
from whatsapp_worker.whatsapp import events
from whatsapp_worker.whatsapp.client import Accepted, Emit, NativeError, NewClient
from whatsapp_worker.whatsapp.keeper import Surroundings
from whatsapp_worker.whatsapp.session import NeonizeWhatsApp
from whatsapp_worker.whatsapp.states import WhatsAppState

PATIENCE = 10.0
"""Seconds after which a test gives up waiting for a fact."""


async def until(fact: Callable[[], object]) -> None:
    """Wait until a fact is true; fails the test when it does not become so."""
    async with asyncio.timeout(PATIENCE):
        while not fact():  # noqa: ASYNC110  Facts of native threads come without an event.
            await asyncio.sleep(0.001)


def envelope(text: str = "hello", destination: str = "+15551110001") -> WhatsAppEnvelope:
    values = {
        "user_id": "0e3a0c1e-6d5c-4a55-9d0b-0d9a2f0b7a11",
        "text_message": text,
        "destination": destination,
    }
    return WhatsAppEnvelope.model_validate(values)


class FakeClient:
    """One native client.

    Attributes:
        say: tells an event, as the library does from threads of its own.
        up: what `is_connected` answers.
        deaf: `stop` does not end `connect`, as after a failed pairing.
        refusal: what `send_text` and `pair_phone` raise.
        unencrypted: JIDs that `send_text` logs as not encrypted for.
        devices: of everybody; None if the library does not know them.
        held: sends wait until `release` is set.
        dialling: while this is not set, `is_connected` does not answer.
    """

    def __init__(self, name: str, emit: Emit, error: Exception | None = None) -> None:
        self.name = name
        self.say = emit
        self.up = True
        self.deaf = False
        self.refusal: Exception | None = None
        self.unencrypted: tuple[str, ...] = ()
        self.devices: frozenset[int] | None = frozenset({0})
        self.held = False
        self.release = Event()
        self.ended = Event()
        self.stops = 0
        self.sent: list[tuple[str, str]] = []
        self.sending = 0
        self.most_sending = 0
        self.flushed = 0
        self.answers = 0
        self.phones: list[str] = []
        self.dialling: Event | None = None
        self._error = error
        self._lock = Lock()

    def connect(self) -> None:
        if self._error is not None:
            raise self._error
        self.ended.wait(60)

    def stop(self) -> None:
        self.stops += 1
        if not self.deaf:
            self.ended.set()

    def is_connected(self) -> bool:
        if self.dialling is not None:
            self.dialling.wait(PATIENCE)
        self.answers += 1
        return self.up

    def send_text(self, number: str, text: str) -> Accepted:
        with self._lock:
            self.sending += 1
            self.most_sending = max(self.most_sending, self.sending)
            self.sent.append((number, text))
            message_id = f"3EB0{len(self.sent):016d}"
        try:
            if self.held:
                self.release.wait(PATIENCE)
            if self.refusal is not None:
                raise self.refusal
            for user in self.unencrypted:
                logging.getLogger("whatsmeow.Client").warning(
                    "Failed to encrypt %s for %s: no signal session established", message_id, user
                )
            return Accepted(message_id, frozenset({"111615227028038", "15550000001"}))
        finally:
            with self._lock:
                self.sending -= 1

    def devices_of(self, person: str) -> frozenset[int]:
        if self.devices is None:
            raise NativeError(f"failed to get the devices of {person}")
        return self.devices

    def flush_log(self) -> None:
        self.flushed += 1

    def pair_phone(self, number: str) -> str:
        self.phones.append(number)
        if self.refusal is not None:
            raise self.refusal
        return "ABCD-1234"


@dataclass
class FakeLibrary:
    """Makes clients; `errors` are what the next `connect` calls raise (None: stays connected)."""

    clients: list[FakeClient] = field(default_factory=list)
    errors: list[Exception | None] = field(default_factory=list)
    loaded: tuple[Path, str | None] | None = None

    def load(self, database: Path, proxy: str | None) -> NewClient:
        self.loaded = (database, proxy)
        return self.new_client

    def new_client(self, name: str, emit: Emit) -> FakeClient:
        error = self.errors.pop(0) if self.errors else None
        self.clients.append(FakeClient(name, emit, error))
        return self.clients[-1]


@dataclass
class FakeTimer:
    due: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """Time stands still until `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(self.now + seconds, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        """Let time pass, calling back what is due on the way."""
        end = self.now + seconds
        while due := [t for t in self.timers if not t.cancelled and t.due <= end]:
            timer = min(due, key=lambda candidate: candidate.due)
            self.timers.remove(timer)
            self.now = timer.due
            timer.callback()
        self.now = end


@dataclass
class World:
    """A session under test with everything around it."""

    library: FakeLibrary
    clock: FakeClock
    settings: Settings
    reports: list[str | None] = field(default_factory=list)
    stuck: list[bool] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.whatsapp = NeonizeWhatsApp(
            self.settings,
            self._report,
            lambda: self.stuck.append(True),
            self.restarts.append,
            io.StringIO(),
            Surroundings(self.library.load, self.clock.call_later),
        )

    @property
    def client(self) -> FakeClient:
        return self.library.clients[-1]

    async def dialled(self, times: int) -> FakeClient:
        """Wait for the connection of this number to be begun."""
        await until(lambda: len(self.library.clients) == times)
        return self.client

    async def failed(self, times: int) -> None:
        """Wait until so many connections in a row have failed."""
        await until(lambda: self.whatsapp._keeper.status.failures == times)

    async def shows(self, qr: str | None) -> None:
        """Wait until this code is shown, or with None that there is none."""
        await until(lambda: self.whatsapp.board.notice.qr == qr)

    async def becomes(self, state: WhatsAppState) -> None:
        await until(lambda: self.whatsapp.state is state)

    async def online(self) -> FakeClient:
        client = await self.dialled(1)
        client.say(events.Online())
        await self.becomes(WhatsAppState.ONLINE)
        return client

    async def hears(self, event: events.Event, state: WhatsAppState) -> None:
        self.client.say(event)
        await self.becomes(state)

    def _report(self, reason: PauseReason, why: str | None) -> None:
        assert reason is PauseReason.WHATSAPP
        self.reports.append(why)


def world(directory: Path, **settings: Any) -> World:
    values: dict[str, Any] = {
        "whatsapp_session_path": directory / "session",
        "whatsapp_qr": QrMode.OFF,
    }
    return World(FakeLibrary(), FakeClock(), Settings(**values | settings))


@asynccontextmanager
async def running(directory: Path, **settings: Any) -> AsyncIterator[World]:
    """A session that runs until the end of the block."""
    async with running_world(world(directory, **settings)) as around:
        yield around


@asynccontextmanager
async def running_world(around: World) -> AsyncIterator[World]:
    """The same, for a world prepared by the test."""
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(around.whatsapp.run())
        try:
            await until(lambda: around.library.clients or run.done())
            yield around
        finally:
            run.cancel()
            for client in around.library.clients:
                client.release.set()
                client.deaf = False
                client.ended.set()
            await around.whatsapp.close()
