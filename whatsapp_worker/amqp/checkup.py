"""Looking at RabbitMQ as the worker will find it, without making or changing anything."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiormq.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPChannelError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.commands import Basic

from whatsapp_worker.amqp.publisher import NOWHERE, PUBLISH_SECONDS
from whatsapp_worker.amqp.session import LIBRARY_ERRORS, Trouble, at_most, connected, said
from whatsapp_worker.amqp.topology import (
    DEAD_ARGUMENTS,
    Arguments,
    Topology,
    retry_arguments,
    work_arguments,
)

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

MADE = "the worker makes it when it starts"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        ok: the worker can run with it.
        detail: what was found, in RabbitMQ's own words where it refused something.
        fix: what to do about it, None when nothing has to be done.
    """

    subject: str
    ok: bool
    detail: str
    fix: str | None = None


async def checkup(settings: "Settings") -> list[Finding]:
    """Look at everything the worker needs of RabbitMQ; never raises for what it finds there."""
    try:
        async with connected(settings, "whatsapp-worker check") as connection:
            found = [Finding("connection", True, f"connected to {settings.amqp_address}")]
            found += [each async for each in _Examination(connection, settings).findings()]
            return found
    except Trouble as trouble:
        return [Finding("connection", False, trouble.text, "mend the connection first")]


@dataclass(frozen=True, slots=True)
class _Examination:
    connection: AbstractConnection
    settings: "Settings"

    async def findings(self) -> AsyncIterator[Finding]:
        settings = self.settings
        ours_to_make = settings.whatsapp_topology == "declare"
        work = settings.whatsapp_queue_name
        yield await self._exchange(settings.whatsapp_exchange, ours_to_make)
        yield await self._queue(work, work_arguments(settings), ours_to_make, may_differ=True)
        yield await self._exchange(settings.whatsapp_dlx, True)
        yield await self._dead_letters()
        for rung in settings.retry_delays:
            queue = settings.retry_queue(rung)
            yield await self._queue(queue, retry_arguments(settings, rung.seconds), True)
        yield await self._publishing()

    async def _exchange(self, name: str, ours_to_make: bool) -> Finding:
        subject = f"exchange {name}"
        topology = Topology(self.connection, self.settings)
        try:
            await topology.verify_exchange(name)
        except Trouble as trouble:
            return _missing(subject, ours_to_make, trouble.text)
        except LIBRARY_ERRORS as error:
            return _refused(subject, error)
        return Finding(subject, True, "exists")

    async def _queue(
        self, name: str, arguments: Arguments, ours_to_make: bool, *, may_differ: bool = False
    ) -> Finding:
        """Compare a queue with ours by declaring it again, which makes nothing once it exists."""
        subject, topology = f"queue {name}", Topology(self.connection, self.settings)
        try:
            count = await topology.count(name)
            await topology.declare(name, arguments)
        except ChannelNotFoundEntity:
            return _missing(subject, ours_to_make, f"the queue {name!r} does not exist")
        except ChannelPreconditionFailed as error:
            if may_differ:
                return Finding(subject, True, f"somebody else's, used as it is: {said(error)}")
            return Finding(
                subject, False, said(error), "delete or rename it: it has to be the worker's own"
            )
        except LIBRARY_ERRORS as error:
            return _refused(subject, error)
        return Finding(subject, True, f"{count.messages} messages, {count.consumers} consumers")

    async def _dead_letters(self) -> Finding:
        name = self.settings.dead_letter_queue
        finding = await self._queue(name, DEAD_ARGUMENTS, True)
        if finding.ok:
            return finding
        plain = await self._queue(name, {}, True)
        return plain if plain.ok else finding

    async def _publishing(self) -> Finding:
        """Publish to a queue that does not exist, which RabbitMQ confirms and forgets."""
        subject = "publishing copies"
        try:
            async with at_most(PUBLISH_SECONDS):
                channel = await self.connection.channel(publisher_confirms=True)
                await channel.basic_publish(b"", routing_key=NOWHERE, properties=Basic.Properties())
                await channel.close()
        except TimeoutError:
            return Finding(
                subject,
                False,
                "RabbitMQ confirms nothing",
                "look at its memory and disk alarms (`rabbitmq-diagnostics alarms`)",
            )
        except LIBRARY_ERRORS as error:
            return _refused(subject, error)
        return Finding(subject, True, "confirmed")


def _missing(subject: str, ours_to_make: bool, detail: str) -> Finding:
    if ours_to_make:
        return Finding(subject, True, f"missing; {MADE}")
    return Finding(subject, False, detail, "make it, or set WHATSAPP_TOPOLOGY=declare")


def _refused(subject: str, error: BaseException) -> Finding:
    fix = None
    if isinstance(error, ChannelAccessRefused):
        fix = (
            "allow this user: configure, write and read on the work queue, its .failed and .retry "
            "queues and the dead-letter exchange; write on amq.default (rabbitmqctl "
            "set_permissions)"
        )
    elif not isinstance(error, AMQPChannelError):
        fix = "the connection broke: try again"
    return Finding(subject, False, said(error), fix)
