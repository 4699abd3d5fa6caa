"""The composition root: settings become objects, the objects run, and end in order."""

import asyncio
import logging
import os
import random
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NoReturn, Protocol, TextIO

from prometheus_client import CollectorRegistry

from whatsapp_worker import __version__, failpoints, logs, memory, tracing
from whatsapp_worker.amqp import RabbitMQ
from whatsapp_worker.envelope import Rules, WhatsAppEnvelope
from whatsapp_worker.errors import PauseReason
from whatsapp_worker.metrics import Metrics
from whatsapp_worker.pacer import TurnPacer
from whatsapp_worker.pipeline import Pipeline
from whatsapp_worker.retry import RetryPolicy
from whatsapp_worker.sandbox import Sandbox
from whatsapp_worker.service_manager import ServiceManager
from whatsapp_worker.settings import SenderKind, Settings
from whatsapp_worker.store import SqliteLedger
from whatsapp_worker.web import Health, Heartbeat, Server, livez
from whatsapp_worker.whatsapp import NeonizeWhatsApp, WhatsAppState

log = logging.getLogger(__name__)

SAMPLE_INTERVAL = 1.0
"""Seconds between two samples of the worker's state for its metrics."""

OVERTIME = 30.0
"""Seconds beyond SEND_TIMEOUT, whose watchdog should have ended the process long ago."""

FOR_WHATSAPPS_SAKE = frozenset({PauseReason.WHATSAPP, PauseReason.THROTTLED})


class WhatsApp(Protocol):
    """A sender with a life of its own: neonize's session, or the sandbox."""

    @property
    def state(self) -> str:
        """Where the session stands, for /healthz and the metrics."""
        ...

    @property
    def online(self) -> bool:
        """Whether messages can be sent."""
        ...

    async def run(self) -> None:
        """Keep the session until cancelled."""
        ...

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """See ports.Sender.send."""
        ...

    async def close(self) -> None:
        """End the session, within a few seconds."""
        ...


class Daemon:
    """One account's worker, put together.

    Args:
        settings: all of them.
        abandon: ends the process at once with an exit code.
        out: the real standard output, for pairing codes.
        manager: who started us and wants to know how we are.
    """

    def __init__(
        self,
        settings: Settings,
        abandon: Callable[[int], NoReturn],
        out: TextIO,
        manager: ServiceManager,
    ) -> None:
        self._settings = settings
        self._out = out
        self._abandon = abandon
        self._manager = manager
        self._stop = asyncio.Event()
        self._exit_code = os.EX_OK
        self._services: list[asyncio.Task[None]] = []
        self._announced: set[PauseReason] = set()
        self._heartbeat = Heartbeat()
        registry = CollectorRegistry()
        self._metrics = Metrics(
            registry,
            queue=settings.whatsapp_queue_name,
            dead_letter_queue=settings.dead_letter_queue,
            whatsapp_states=WhatsAppState,
        )
        self._pacer = TurnPacer(settings.whatsapp_send_interval)
        self._ledger = SqliteLedger(
            settings.whatsapp_session_path, settings.whatsapp_prefetch_count, self._report
        )
        self._broker = RabbitMQ(settings, self._report, self._pacer.wake)
        self._whatsapp = self._sender()
        pipeline = Pipeline(
            self._broker,
            self._ledger,
            self._pacer,
            self._whatsapp,
            RetryPolicy(
                tuple(rung.seconds for rung in settings.retry_delays),
                settings.max_attempts,
                settings.on_unknown,
                random.random,
            ),
            Rules(settings.max_message_bytes, settings.phone_check, settings.content_policy),
            (logs.observe, self._metrics.observe, self._pacer.observe),
        )
        self._health = self._checks()
        self._tracing = tracing.start(settings)
        followed = self._tracing.follow(pipeline) if self._tracing else pipeline
        self._pipeline = failpoints.arm(followed, settings.failpoint)
        self._server = Server(settings.http_host, settings.http_port, self._health, registry)

    def _sender(self) -> WhatsApp:
        settings = self._settings
        if settings.whatsapp_sender is SenderKind.NEONIZE:
            return NeonizeWhatsApp(settings, self._report, self._stuck, self._start_over, self._out)
        return Sandbox(
            settings.sandbox_rules,
            settings.sandbox_outbox,
            self._report,
            settings.send_timeout,
            self._stuck,
        )

    # Living -----------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until told to stop; returns the exit code."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        logs.install_exception_hooks(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop, number)
        log.info(
            "whatsapp-worker %s starts", __version__, extra={"rabbitmq": settings.amqp_address}
        )
        for warning in settings.warnings:
            log.warning("%s", warning)
        async with AsyncExitStack() as closing:
            if self._tracing:
                closing.push_async_callback(self._tracing.close)
            closing.push_async_callback(self._ledger.close)
            # First, to be seen alive while the ledger of an older worker is brought up to date.
            await self._server.start()
            closing.push_async_callback(self._server.close)
            async with asyncio.TaskGroup() as tasks:
                self._services = [tasks.create_task(self._heartbeat.run(), name="heartbeat")]
                await self._ledger.open()
                retention = settings.ledger_retention_days * 24 * 3600.0
                self._services += [
                    tasks.create_task(work, name=name)
                    for name, work in {
                        "rabbitmq": self._broker.run(),
                        "whatsapp": self._whatsapp.run(),
                        "ledger": self._ledger.run(retention, self._metrics.overdue_retries),
                        "pauses": self._stand_aside(),
                        "samples": self._sample(),
                        "service manager": self._manager.run(self._not_alive, self._status),
                    }.items()
                ]
                work = tasks.create_task(self._pipeline.run(), name="pipeline")
                self._manager.ready()
                await self._stop.wait()
                await self._drain(work)
                for service in self._services:
                    service.cancel()
        log.info("whatsapp-worker has stopped")
        return self._exit_code

    async def _drain(self, work: asyncio.Task[None]) -> None:
        """Take nothing more, give back what was not begun, and finish the send in flight."""
        log.info("stopping: no new messages are taken")
        self._manager.stopping()
        # Cancelling may take a while: nothing begins in it, and nothing that failed begins again.
        self._pacer.report(PauseReason.DRAINING, "the worker is stopping")
        await self._broker.stop()
        self._pacer.let_go()
        _, unfinished = await asyncio.wait({work}, timeout=self._settings.drain_timeout)
        if unfinished:
            log.critical("a send did not end within DRAIN_TIMEOUT; it stands in the ledger")
            self._abandon(os.EX_TEMPFAIL)
        await self._broker.close()
        await self._whatsapp.close()

    async def _stand_aside(self) -> None:
        """Give back what is held when a pause lasts, and take deliveries again afterwards.

        A delivery held for longer than RabbitMQ's consumer timeout would end our channel.
        """
        while True:
            await self._pacer.closed(self._settings.pause_hold)
            log.warning("the pause lasts: what is held is given back")
            await self._broker.pause()
            self._pacer.let_go()
            await self._pacer.opened()
            self._pacer.welcome()
            await self._broker.resume()

    async def _sample(self) -> None:
        while True:
            status, depths = self._broker.status, self._broker.depths
            self._metrics.broker_connected(status.connected)
            self._metrics.depths(depths.ready, depths.dead_letters)
            self._metrics.whatsapp_state(self._whatsapp.state)
            for reason in PauseReason:
                self._metrics.paused(reason, reason in self._pacer.paused)
            memory.tidy()
            await asyncio.sleep(SAMPLE_INTERVAL)

    # Told by others ---------------------------------------------------------------------------

    def _report(self, reason: PauseReason, detail: str | None) -> None:
        if detail is None and reason in self._announced:
            self._announced.remove(reason)
            log.info("no longer paused (%s)", reason)
        elif detail is not None and reason not in self._announced | self._implied():
            self._announced.add(reason)
            log.warning("paused (%s): %s", reason, detail)
        self._pacer.report(reason, detail)

    def _implied(self) -> set[PauseReason]:
        """What goes without saying: while RabbitMQ is away, one line about that is enough."""
        return set() if self._broker.status.connected else {PauseReason.PUBLISHER}

    def _told_to_stop(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("told to stop again: ending at once")
            self._abandon(128 + number)
        self._stop.set()

    def _stuck(self) -> None:
        log.critical("a send does not end: starting over, since a second one would wait behind it")
        self._abandon(os.EX_TEMPFAIL)

    def _start_over(self, why: str) -> None:
        log.warning("stopping to be started again: %s", why)
        self._exit_code = os.EX_TEMPFAIL
        self._stop.set()

    # Health -----------------------------------------------------------------------------------

    def _checks(self) -> Health:
        async def rabbitmq() -> str | None:
            status = self._broker.status
            return None if status.connected else status.problem or "connection closed"

        def online() -> str | None:
            return None if self._whatsapp.online else f"WhatsApp is {self._whatsapp.state}"

        def topology() -> str | None:
            status = self._broker.status
            return None if status.topology_ok else status.problem or "not verified yet"

        def send() -> str | None:
            limit = self._settings.send_timeout + OVERTIME
            return "a send does not end" if self._pacer.sending_for > limit else None

        def tasks() -> str | None:
            ended = [task.get_name() for task in self._services if task.done()]
            return f"ended: {', '.join(ended)}" if ended else None

        return Health(
            rabbitmq=rabbitmq,
            whatsapp=lambda: self._whatsapp.state,
            event_loop=self._heartbeat.problem,
            tasks=tasks,
            send=send,
            consuming=self._why_not_consuming,
            ledger=lambda: self._ledger.problem,
            topology=topology,
            draining=lambda: "stopping" if self._stop.is_set() else None,
            whatsapp_online=online if self._settings.ready_requires_whatsapp else None,
        )

    def _not_alive(self) -> str | None:
        """For systemd's watchdog: what /livez says, so that both agree on when to start over."""
        return None if livez(self._health).healthy else "/livez says no"

    def _status(self) -> str:
        connected = "connected" if self._broker.status.connected else "not connected"
        return f"WhatsApp {self._whatsapp.state}, RabbitMQ {connected}"

    def _why_not_consuming(self) -> str | None:
        paused = self._pacer.paused
        for reason in paused.keys() - FOR_WHATSAPPS_SAKE:
            return paused[reason]
        status = self._broker.status
        return None if status.consuming or paused else status.problem or "not consuming yet"
