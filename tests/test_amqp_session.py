import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest
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

from whatsapp_worker.amqp.session import Questions, at_most, explain, said

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


class Channel:
    """Stands for an aiormq channel."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self, _: object) -> None:
        self.is_closed = True


class Channels:
    """Stands for a connection that opens channels."""

    def __init__(self) -> None:
        self.opened: list[Channel] = []

    async def channel(self, **_: object) -> Channel:
        self.opened.append(Channel())
        return self.opened[-1]


async def test_questions_are_asked_on_one_channel_until_one_is_refused() -> None:
    connection: Any = Channels()
    questions = Questions(connection)
    for _ in range(2):
        async with questions.ask():
            pass
    with suppress(ChannelPreconditionFailed):
        async with questions.ask():
            connection.opened[-1].is_closed = True  # RabbitMQ closes it.
            raise ChannelPreconditionFailed("inequivalent arg")
    with suppress(TimeoutError):
        async with questions.ask():
            raise TimeoutError
    async with questions.ask(), questions.ask():
        pass
    assert [channel.is_closed for channel in connection.opened] == [True, True, True, False]
