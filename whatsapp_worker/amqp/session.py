"""One connection to RabbitMQ: dial, ask, hang up, and explain what went wrong.

aio-pika opens the connection, on a transport of `wire`; on it we use the channels of its lower
half, aiormq, for all but deliveries and their settlements.  aio-pika's own upper half fails us
twice: `connect_robust` turns into a zombie when a queue is re-declared with other arguments (60 s
without a delivery and without an error, measured), and its message class raises on properties a
publisher may well send (`expiration="soon"`, `delivery_mode=0`), which would leave such a message
unsettled for ever.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from aio_pika.abc import UnderlayConnection
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionNotAllowed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from pamqp.exceptions import PAMQPException
from yarl import URL

from whatsapp_worker.amqp import tolerant
from whatsapp_worker.amqp.wire import Wire
from whatsapp_worker.errors import Misconfigured

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

CONNECT_SECONDS = 10.0
"""A peer that accepts and stays silent would otherwise hang the worker for ever (measured)."""
CALL_SECONDS = 10.0
"""How long one question to RabbitMQ may take."""
CLOSE_SECONDS = 3.0
"""How long a polite goodbye may take: with a cancel that hangs (DESIGN 10) still below 10 s."""
SLOW_DELAY = 30.0
"""Seconds between tries that only a person can make succeed, such as a wrong password."""


class Trouble(Exception):
    """The connection, or what is to be done on it, does not work at present.

    Args:
        text: one sentence for a person, without secrets.
        retry_after: seconds until a new try makes sense, None to let the backoff decide.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.retry_after = retry_after

    @property
    def needs_a_person(self) -> bool:
        """Waiting alone will not mend it."""
        return self.retry_after == SLOW_DELAY


LIBRARY_ERRORS = (AMQPError, PAMQPException, OSError, RuntimeError, ValueError, EOFError)
"""What aiormq raises for a broken connection: ChannelInvalidStateError is a mere RuntimeError."""


@asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Bound calls into aiormq, and keep its failures inside `LIBRARY_ERRORS`.

    aiormq confuses two things when a connection ends: pending calls end with a CancelledError
    although nobody cancelled them, and a real cancellation is answered with the connection's error
    or not at all, and so forgotten (measured: a worker that would not stop).  Whether this task
    was asked to end since is known for certain, and decides.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0

    def cancelled() -> bool:
        return task is not None and task.cancelling() > before

    try:
        async with asyncio.timeout(seconds) as limit:
            yield limit
    except asyncio.CancelledError:
        if cancelled():
            raise
        raise ConnectionResetError("the connection was closed") from None
    except LIBRARY_ERRORS as error:
        if cancelled():
            raise asyncio.CancelledError from error
        raise
    if cancelled():
        raise asyncio.CancelledError


async def dial(settings: "Settings", name: str, wire: Wire | None = None) -> AbstractConnection:
    """Open one connection.

    Args:
        settings: address, credentials, TLS files (read anew each time: certificates get renewed).
        name: what the management page shows it as.
        wire: listens in on it, for who consumes by the thousand.

    Raises:
        Trouble: it can not be had, and why.
    """
    tolerant.install()
    # aiormq logs every failed try, and whole messages when one is returned: what matters is
    # raised as well, and logged once by whoever supervises the connection.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    url = URL(settings.amqp_url.get_secret_value()).update_query(
        heartbeat=str(int(settings.rabbitmq_heartbeat)), name=name
    )
    try:
        context = await asyncio.to_thread(settings.ssl_context)
        async with at_most(CONNECT_SECONDS):
            return await UnderlayConnection.make_connection(
                url, context=context, transport_factory=wire
            )
    except Misconfigured as error:
        raise Trouble(str(error), SLOW_DELAY) from error
    except LIBRARY_ERRORS as error:
        raise explain(error, settings.amqp_address) from error


async def hang_up(connection: AbstractConnection | AbstractChannel) -> None:
    """Close politely within CLOSE_SECONDS.  Never raises for a connection that is gone."""
    with suppress(*LIBRARY_ERRORS):
        async with at_most(CLOSE_SECONDS):
            await connection.close(ConnectionClosed(0, "closed by the worker"))


@asynccontextmanager
async def connected(
    settings: "Settings", name: str, wire: Wire | None = None
) -> AsyncIterator[AbstractConnection]:
    """Open one connection for the time of a `with` block; see `dial`, and raises as that does."""
    connection = await dial(settings, name, wire)
    try:
        yield connection
    finally:
        await hang_up(connection)


class Questions:
    """Asks RabbitMQ one thing at a time, on a channel of its own until an answer is no.

    A refusal (403, 404, 406) closes the channel it came on; whoever asks next gets a new one.

    Args:
        connection: an open one.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._spare: AbstractChannel | None = None

    @asynccontextmanager
    async def ask(self) -> AsyncIterator[AbstractChannel]:
        """A channel for one question."""
        async with at_most(CALL_SECONDS):
            channel, self._spare = self._spare, None
            if channel is None or channel.is_closed:
                channel = await self._connection.channel(publisher_confirms=False)
            answered = False
            try:
                yield channel
                answered = self._spare is None
            finally:
                if answered:
                    self._spare = channel
                elif not channel.is_closed:
                    await channel.close(ConnectionClosed(0, "done"))


async def end(
    connection: AbstractConnection, channel: AbstractChannel, given_up: asyncio.Future[str]
) -> Trouble:
    """Wait until a connection or its channel has ended, or was given up; return why."""
    # Copies of aiormq's futures, and never awaited: they may raise CancelledError as a reason.
    ends = [channel.closing, connection.closing]
    await asyncio.wait([*ends, given_up], return_when=asyncio.FIRST_COMPLETED)
    if given_up.done():
        return Trouble(given_up.result())
    over = next(each for each in ends if each.done())
    why = None if over.cancelled() else over.exception()
    return Trouble(f"the connection to RabbitMQ was lost: {said(why)}")


def said(error: BaseException | None) -> str:
    """Return the broker's own words, or the best there is."""
    words = " ".join(str(part) for part in getattr(error, "args", ()) if part not in (None, 0, ""))
    return words or type(error).__name__


def explain(error: BaseException, address: str) -> Trouble:
    """Turn a failure to connect into one sentence that says what to look at."""
    match error:
        case ProbableAuthenticationError() | AuthenticationError():
            return Trouble(
                f"RabbitMQ at {address} refused the user name or the password: check "
                "RABBITMQ_USER and RABBITMQ_PASSWORD, or RABBITMQ_URL",
                SLOW_DELAY,
            )
        case ConnectionNotAllowed():
            return Trouble(
                f"RabbitMQ at {address} refused the connection: {said(error)}", SLOW_DELAY
            )
        case InvalidFrameError() if "Connection.OpenOk" in str(error):
            # aiormq expects no refusal at this point, and keeps RabbitMQ's words to itself.
            return Trouble(
                f"RabbitMQ let us in, but not into the virtual host of {address}: it does not "
                "exist, is full, or this user has no permission in it",
                SLOW_DELAY,
            )
        case IncompatibleProtocolError():
            return Trouble(f"what answers at {address} does not speak AMQP 0-9-1", SLOW_DELAY)
        case TimeoutError():
            return Trouble(f"RabbitMQ at {address} did not answer within {CONNECT_SECONDS:.0f} s")
        case _:
            return _explain_cause(error.__cause__ or error, address)


def _explain_cause(cause: BaseException, address: str) -> Trouble:
    match cause:
        case socket.gaierror():
            return Trouble(f"the host name of RabbitMQ at {address} is not known")
        case ConnectionRefusedError():
            return Trouble(f"nothing answers at {address}: is RabbitMQ running?")
        case ssl.SSLError():
            return Trouble(f"TLS with RabbitMQ at {address} failed: {said(cause)}", SLOW_DELAY)
        case _:
            return Trouble(f"the connection to RabbitMQ at {address} failed: {said(cause)}")
