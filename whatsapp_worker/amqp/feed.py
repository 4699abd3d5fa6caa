"""Where deliveries come from: one session after the other, paused and resumed, until stopped."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused

from whatsapp_worker.amqp.consumer import ChannelReceipt, Plan, Session
from whatsapp_worker.amqp.depths import Monitor
from whatsapp_worker.amqp.proofs import Proofs
from whatsapp_worker.amqp.session import (
    CALL_SECONDS,
    LIBRARY_ERRORS,
    SLOW_DELAY,
    Trouble,
    at_most,
    said,
)
from whatsapp_worker.amqp.supervisor import Supervisor
from whatsapp_worker.amqp.topology import Found, Topology
from whatsapp_worker.amqp.wire import Wire
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import PauseReason

if TYPE_CHECKING:
    from whatsapp_worker.settings import Settings

log = logging.getLogger(__name__)


class Feed:
    """Sets the topology up, consumes, and starts over whenever a session ends.

    Args:
        settings: addresses, names and limits.
        report: pauses the worker while dead letters would be lost.
        lost: called when deliveries held became lost.
    """

    def __init__(
        self,
        settings: "Settings",
        report: Callable[[PauseReason, str | None], None],
        lost: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._report = report
        self._lost = lost
        self._wire = Wire()
        self._supervisor = Supervisor(
            settings, "whatsapp-worker consumer", self._work, self._told, self._wire
        )
        self._take: Callable[[Delivery], object] = _nobody_takes
        self._somebody_takes = asyncio.Event()
        self._ended = asyncio.Event()
        self._proofs = Proofs()
        self._switching = asyncio.Lock()
        self._wanted = True
        self._stopped = False
        self._session: Session | None = None
        self._noted: tuple[str, ...] = ()
        self._logged: set[str] = set()
        self.connected = False
        self.found: Found | None = None
        self.monitor: Monitor | None = None
        self.problem: str | None = "not connected yet"

    @property
    def consuming(self) -> bool:
        """RabbitMQ delivers to us."""
        return self._session is not None and self._session.consuming

    async def run(self) -> NoReturn:
        """Keep a session standing until cancelled."""
        await self._supervisor.run()

    async def consume(self, take: Callable[[Delivery], object]) -> None:
        """Hand over deliveries as they come, until `stop`; nothing is consumed before."""
        self._take = take
        self._somebody_takes.set()
        await self._ended.wait()

    async def pause(self) -> None:
        """Take no new deliveries; what was taken can still be settled.  Never raises."""
        async with self._switching:
            self._wanted = False
            if self._session:
                await self._session.cancel()

    async def resume(self) -> None:
        """Take deliveries again, unless stopped.  Never raises."""
        async with self._switching:
            self._wanted = not self._stopped
            if self._session and self._wanted:
                try:
                    await self._session.consume()
                except LIBRARY_ERRORS as error:
                    self._session.fail(f"RabbitMQ did not let us consume again: {said(error)}")

    async def stop(self) -> None:
        """Pause for good: `consume` returns."""
        self._stopped = True
        await self.pause()
        self._ended.set()

    async def _work(self, connection: AbstractConnection, works: Callable[[], None]) -> NoReturn:
        self.connected = True
        try:
            topology = Topology(connection, self._settings)
            self._remember(await topology.establish())
            session = await self._begin(topology)
            works()
            await self._watch(session, Monitor(topology, session, self._report))
        finally:
            self.connected, self.found = False, None

    async def _watch(self, session: Session, monitor: Monitor) -> NoReturn:
        self.monitor = monitor
        try:
            async with asyncio.TaskGroup() as tasks:
                ends = [tasks.create_task(session.lost()), tasks.create_task(monitor.watch())]
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in ends:
                    task.cancel()
            raise done.pop().result()
        finally:
            self._session = self.monitor = None
            if session.abandon():
                self._lost()
            await session.close()

    async def _begin(self, topology: Topology) -> Session:
        queue = self._settings.whatsapp_queue_name
        found = self.found or Found()
        try:
            try:
                return await self._open(topology.connection, found, exclusive=not found.ours)
            except ChannelAccessRefused as error:
                # RabbitMQ refuses exclusive consuming on a single-active-consumer queue as well.
                if found.ours or (await topology.count(queue)).consumers:
                    raise Trouble(
                        f"RabbitMQ does not let us consume from {queue!r}, perhaps because another "
                        f"consumer is still there: {said(error)}",
                        SLOW_DELAY,
                    ) from error
                return await self._open(topology.connection, found, exclusive=False)
        except LIBRARY_ERRORS as error:
            raise Trouble(
                f"RabbitMQ does not let us consume from {queue!r}: {said(error)}"
            ) from error

    async def _open(
        self, connection: AbstractConnection, found: Found, *, exclusive: bool
    ) -> Session:
        settings = self._settings
        prefetch = settings.whatsapp_prefetch_count
        # A quorum queue ignores "exclusive", so only these two kinds surely have no other consumer.
        self._proofs.session(sole=prefetch == 1 and (found.ours or (found.classic and exclusive)))
        async with at_most(CALL_SECONDS):
            channel = await connection.channel(publisher_confirms=False)
        plan = Plan(settings.whatsapp_queue_name, prefetch, settings.max_attempts, exclusive)
        await self._somebody_takes.wait()
        session = Session(connection, channel, self._wire, plan, self._proofs, self._take)
        async with self._switching:
            try:
                if self._wanted:
                    await session.consume()
            except BaseException:  # RabbitMQ may have begun all the same.
                if session.abandon():
                    self._lost()
                raise
            self._session = session
        return session

    def _remember(self, found: Found) -> None:
        for note in found.notes:
            if note not in self._noted:
                log.warning("%s", note)
        self.found, self._noted = found, found.notes

    def _told(self, problem: str | None) -> None:
        self.problem = problem
        if problem is None:
            self._logged.clear()
            log.info("the connection to RabbitMQ works")
        elif problem not in self._logged:  # Two problems that take turns are two lines, not more.
            self._logged.add(problem)
            log.warning("%s", problem)


def _nobody_takes(_: Delivery) -> None:
    raise RuntimeError("a delivery came before anybody was there to take it")


def own(delivery: Delivery) -> ChannelReceipt:
    """Return the receipt as we made it; raises TypeError for a delivery that is not ours."""
    if not isinstance(delivery.receipt, ChannelReceipt):
        raise TypeError("this delivery did not come from RabbitMQ")
    return delivery.receipt
