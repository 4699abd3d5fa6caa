import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from aiormq.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ChannelPreconditionFailed,
    ConnectionClosed,
    ConnectionNotAllowed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from whatsapp_worker.amqp import session
from whatsapp_worker.amqp.session import Supervisor, Trouble, at_most, explain, said
from whatsapp_worker.settings import Settings

ADDRESS = "amqp://rabbit:5672/woragis"


def wrapped(cause: OSError) -> AMQPConnectionError:
    """As aiormq raises what the operating system said."""
    error = AMQPConnectionError(*cause.args)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "text", "needs_a_person"),
    [
        (ProbableAuthenticationError("ACCESS_REFUSED"), "the password", True),
        (AuthenticationError("EXTERNAL", ["PLAIN"]), "the password", True),
        (ConnectionNotAllowed("NOT_ALLOWED - no vhost"), "NOT_ALLOWED - no vhost", True),
        (InvalidFrameError("Expected one of ['Connection.OpenOk']"), "virtual host", True),
        (InvalidFrameError("else"), "failed: else", False),
        (IncompatibleProtocolError(), "AMQP 0-9-1", True),
        (TimeoutError(), "did not answer within 10 s", False),
        (wrapped(ConnectionRefusedError(111, "refused")), "nothing answers", False),
        (wrapped(socket.gaierror(-2, "unknown")), "host name", False),
        (wrapped(ssl.SSLError(1, "CERTIFICATE_VERIFY_FAILED")), "TLS", True),
        (wrapped(OSError(113, "No route to host")), "113 No route to host", False),
    ],
)
def test_every_failure_to_connect_is_explained(
    error: BaseException, text: str, needs_a_person: bool
) -> None:
    trouble = explain(error, ADDRESS)
    assert text in trouble.text
    assert trouble.needs_a_person == needs_a_person


def test_what_the_broker_said_is_quoted() -> None:
    assert said(ConnectionClosed(320, "CONNECTION_FORCED - bye")) == "320 CONNECTION_FORCED - bye"
    assert said(ChannelPreconditionFailed("inequivalent arg")) == "inequivalent arg"
    assert said(RuntimeError()) == "RuntimeError"


async def test_a_cancellation_that_is_none_becomes_a_lost_connection() -> None:
    pending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    pending.set_exception(asyncio.CancelledError())
    with pytest.raises(ConnectionResetError):
        async with at_most(1):
            await pending


async def test_a_real_cancellation_stays_one() -> None:
    async def wait() -> None:
        async with at_most(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("answer", [ChannelPreconditionFailed("gone"), None], ids=str)
async def test_a_cancellation_the_library_swallows_is_not_forgotten(
    answer: Exception | None,
) -> None:
    async def swallow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if answer:
                raise answer from None

    async def call() -> None:
        async with at_most(60):
            await swallow()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError):
        async with at_most(0.01):
            await asyncio.Event().wait()


class Connection:
    """Stands for an aiormq connection."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self, _: object) -> None:
        self.closed = True


class Script:
    """What happens at each try, and how long the supervisor then waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tries: Trouble | float) -> None:
        self.tries = list(tries)
        self.waits: list[float] = []
        self.told: list[str | None] = []
        self.connections: list[Connection] = []
        self.now = 0.0
        monkeypatch.setattr(session, "dial", self.dial)
        monkeypatch.setattr(session, "monotonic", lambda: self.now)
        monkeypatch.setattr("whatsapp_worker.amqp.session.asyncio.sleep", self.sleep)
        monkeypatch.setattr("whatsapp_worker.amqp.session.random.uniform", lambda low, high: high)

    async def dial(self, *_: object) -> Any:
        if not self.tries:
            raise asyncio.CancelledError
        if isinstance(trouble := self.tries[0], Trouble):
            self.tries.pop(0)
            raise trouble
        self.connections.append(Connection())
        return self.connections[-1]

    async def work(self, _: AbstractConnection, works: Callable[[], None]) -> NoReturn:
        """Work for so many seconds, and lose the connection."""
        works()
        seconds = self.tries.pop(0)
        assert isinstance(seconds, float)
        self.now += seconds
        raise Trouble("lost")

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await Supervisor(Settings(), "test", self.work, self.told.append).run()


async def test_it_waits_longer_from_try_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, *[Trouble("away")] * 9)
    await script.run()
    assert script.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert script.told == ["away"]  # Once, not once per try.


async def test_it_waits_hardly_at_all_after_a_sound_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, 60.0, 60.0, 60.0)
    await script.run()
    assert script.waits == [0.05, 0.05, 0.05]
    assert script.told == [None, "lost", None, "lost", None, "lost"]
    assert all(connection.closed for connection in script.connections)


async def test_a_connection_that_ends_at_once_again_and_again_slows_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, *[0.0] * 9)
    await script.run()
    assert script.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2]


async def test_what_a_person_has_to_mend_is_tried_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, Trouble("wrong password", 30.0), Trouble("wrong password", 30.0))
    await script.run()
    assert script.waits == [30, 30]
