"""The process around the daemon: its logs, its session directory, its exit code, its end."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn, TextIO

from whatsapp_worker import logs, memory
from whatsapp_worker.app import Daemon
from whatsapp_worker.errors import Misconfigured, WorkerError
from whatsapp_worker.service_manager import ServiceManager
from whatsapp_worker.session_directory import Held, hold
from whatsapp_worker.settings import Settings

log = logging.getLogger(__name__)


def run_daemon(settings: Settings) -> int:
    """Run the daemon until it is told to stop, and return its exit code.

    Leave the process by `cli.leave` then: threads of neonize may still run.

    0 after SIGTERM or Ctrl-C, 70 for a bug, 75 when another process holds the session directory or
    the worker has to start over, 78 when an operator has to change something first.
    """
    memory.one_heap()
    with ExitStack() as flushing:
        stream = logs.protect_stdout()
        flushing.enter_context(logs.configure(settings, stream=stream))

        def abandon(code: int) -> NoReturn:
            """End the process here and now; what was in flight stands in the ledger."""
            flushing.close()
            stream.flush()
            os._exit(code)

        return _run(settings, abandon, stream)


def _run(settings: Settings, abandon: Callable[[int], NoReturn], out: TextIO) -> int:
    code = os.EX_SOFTWARE
    try:
        with hold(settings.whatsapp_session_path):
            manager = ServiceManager.of(os.environ)
            daemon = Daemon(settings, abandon, out, manager)
            memory.all_is_built()
            return asyncio.run(daemon.run())
    except* Held as group:
        code = _say(group, os.EX_TEMPFAIL)
    except* Misconfigured as group:
        code = _say(group, os.EX_CONFIG)
    except* Exception:
        log.critical("a bug in whatsapp-worker ends it", exc_info=True)
    return code


def _say(group: ExceptionGroup[WorkerError], code: int) -> int:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            _say(error, code)
        else:
            log.critical("%s", error)
    return code
