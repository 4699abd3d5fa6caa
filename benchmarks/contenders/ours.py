"""The daemon as `whatsapp-worker run` makes it, with the sandbox for WhatsApp and a meter inside.

`ledger` is all of it; `memory` has a ledger that forgets (`memory_ledger`), for comparison only.
"""

import asyncio
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import NoReturn, TextIO

from pydantic import SecretStr

from benchmarks.contenders.contract import Meter, Task
from benchmarks.contenders.memory_ledger import MemoryLedger
from whatsapp_worker import logs, memory
from whatsapp_worker.app import Daemon
from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.phone import PhoneCheck
from whatsapp_worker.pipeline import Pipeline
from whatsapp_worker.ports import Sender
from whatsapp_worker.service_manager import ServiceManager
from whatsapp_worker.session_directory import hold
from whatsapp_worker.settings import Environment, SenderKind, Settings
from whatsapp_worker.settings.values import read_ladder


@dataclass(frozen=True, slots=True)
class Watched(Pipeline):
    """The daemon's pipeline, its deliveries counted."""

    meter: Meter = field(kw_only=True)

    async def handle(self, delivery: Delivery) -> None:
        """See `Pipeline`."""
        self.meter.begin()
        await Pipeline.handle(self, delivery)
        self.meter.done()


@dataclass(frozen=True, slots=True)
class Clocked:
    """A sender whose calls are noted."""

    sender: Sender
    meter: Meter

    async def send(self, envelope: WhatsAppEnvelope) -> str:
        """See ports.Sender."""
        self.meter.sending(envelope.text_message)
        return await self.sender.send(envelope)


class Measured(Daemon):
    """The daemon, its pipeline watched.

    Args:
        settings: all of them.
        out: where its log goes, which says more than whatever else it prints.
        task: what is measured.
        ledger: whether it keeps its own.
    """

    def __init__(self, settings: Settings, out: TextIO, task: Task, *, ledger: bool) -> None:
        super().__init__(settings, _abandon, out, ServiceManager.of({}))
        meter = Meter(task)
        made = self._pipeline
        if task.clocked:
            made = replace(made, sender=Clocked(made.sender, meter))
        if not ledger:
            made = replace(made, ledger=MemoryLedger())
        parts = {each.name: getattr(made, each.name) for each in fields(Pipeline)}
        self._pipeline = Watched(**parts, meter=meter)


def settings_of(task: Task) -> Settings:
    """A production daemon's, for this task."""
    return Settings(
        env=Environment.PRODUCTION,
        rabbitmq_url=SecretStr(task.url),
        whatsapp_queue_name=task.queue,
        whatsapp_prefetch_count=task.prefetch,
        whatsapp_session_path=task.directory,
        whatsapp_sender=SenderKind.SANDBOX,
        phone_check=PhoneCheck.VALID,
        content_policy=ContentPolicy.STANDARD,
        retry_delays=read_ladder("1h"),  # One queue less to make for each further one.
        http_host="127.0.0.1",
        http_port=0,
    )


def _abandon(code: int) -> NoReturn:
    os._exit(code)


def main(ledger: str) -> int:
    """Run until told to stop; returns the daemon's exit code."""
    task = Task.read()
    settings = settings_of(task)
    memory.one_heap()
    with ExitStack() as closing:
        # A file, as standard output is to a container: written and flushed line by line.
        log = closing.enter_context(task.log.open("w", buffering=1))
        closing.enter_context(logs.configure(settings, stream=log))
        closing.enter_context(hold(settings.whatsapp_session_path))
        daemon = Measured(settings, log, task, ledger=ledger == "ledger")
        memory.all_is_built()
        return asyncio.run(daemon.run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
