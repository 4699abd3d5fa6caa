"""`whatsapp-worker pair`: shows the pairing codes of the running worker, or pairs by itself."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TextIO

from pydantic import SecretStr

from whatsapp_worker.session_directory import Held, hold
from whatsapp_worker.settings import QrMode, Settings
from whatsapp_worker.whatsapp import files, pairing_socket
from whatsapp_worker.whatsapp.keeper import Surroundings
from whatsapp_worker.whatsapp.pairing import Notice
from whatsapp_worker.whatsapp.pairing_screen import Screen
from whatsapp_worker.whatsapp.session import NeonizeWhatsApp, digits
from whatsapp_worker.whatsapp.states import WhatsAppState

PAIR_SECONDS = 300.0

PAIRED, NOT_NOW, REFUSED = os.EX_OK, os.EX_TEMPFAIL, os.EX_NOPERM

_REFUSALS = frozenset(
    {
        WhatsAppState.BANNED,
        WhatsAppState.RESTRICTED,
        WhatsAppState.OUTDATED,
        WhatsAppState.REPLACED,
    }
)

_GONE = "The worker has ended."

# Waits for a notice other than the one given; None when there will be no more.
NextNotice = Callable[[Notice | None], Awaitable[Notice | None]]


async def pair(
    settings: Settings,
    *,
    phone: str | None,
    out: TextIO,
    timeout: float = PAIR_SECONDS,
    surroundings: Surroundings = Surroundings(),  # noqa: B008  It is frozen.
) -> int:
    """Link a phone to the session, and draw what is needed for it.

    The running worker is asked over its socket; a session of our own is opened only when nobody
    holds the session directory.  Leave the process with `os._exit` afterwards: native threads may
    remain that a normal exit would wait for.

    Args:
        settings: the worker's settings; say where the session is.
        phone: number of the phone on which to type a code, or None to scan a QR code.
        out: a terminal, or any text stream.
        timeout: seconds to wait for the phone.
        surroundings: tests bring their own.

    Returns:
        The exit code: 0 paired, 75 not now (nobody scanned, or the worker is busy starting),
        77 WhatsApp refuses this account or client.

    Raises:
        Misconfigured: the session directory or the library cannot be used.
    """
    directory = settings.whatsapp_session_path
    screen = Screen(out)
    try:
        reader, writer = await asyncio.open_unix_connection(str(files.pairing_socket(directory)))
    except OSError:  # Nobody listens: no worker runs.
        files.prepare(directory)
    else:
        return await _ask_worker(reader, writer, digits(phone), screen, timeout)
    try:
        with hold(directory):
            return await _own_session(settings, digits(phone), screen, timeout, surroundings)
    except Held as error:
        screen.say(f"{error} (it does not answer: it starts, stops, or uses the sandbox)")
        return NOT_NOW


async def _ask_worker(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    phone: str | None,
    screen: Screen,
    timeout: float,
) -> int:
    async def next_notice(_: Notice | None) -> Notice | None:
        line = await reader.readline()
        return Notice.from_line(line) if line else None

    try:
        writer.write(pairing_socket.request(phone))
        return await _follow(next_notice, screen, timeout)
    except OSError:
        screen.say(_GONE)
        return NOT_NOW
    except ValueError:
        screen.say("The worker answered in a way this command does not understand.")
        return NOT_NOW
    finally:
        writer.close()


async def _own_session(
    settings: Settings,
    phone: str | None,
    screen: Screen,
    timeout: float,
    surroundings: Surroundings,
) -> int:
    update: dict[str, object] = {"whatsapp_qr": QrMode.OFF}  # The screen is ours.
    if phone is not None:
        update["whatsapp_pair_phone"] = SecretStr(phone)
    whatsapp = NeonizeWhatsApp(
        settings.model_copy(update=update),
        report=lambda _, __: None,
        on_stuck=lambda: None,  # Nothing is sent here,
        needs_restart=lambda _: None,  # and so many connections take longer than we wait.
        out=sys.stdout,
        surroundings=surroundings,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(whatsapp.run())
            result = await _follow(whatsapp.board.after, screen, timeout)
            running.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        await whatsapp.close()
    return result


async def _follow(next_notice: NextNotice, screen: Screen, timeout: float) -> int:
    """Show every notice until one of them decides, and count down in between."""
    notice: Notice | None = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    async with asyncio.timeout(screen.tick_seconds):
                        notice = await next_notice(notice)
                except TimeoutError:
                    screen.tick()
                    continue
                if notice is None:
                    screen.say(_GONE)
                    return NOT_NOW
                screen.show(notice)
                if (code := _verdict(notice.state)) is not None:
                    return code
    except TimeoutError:
        screen.say(f"No phone was linked within {timeout:.0f} s; run this command again.")
        return NOT_NOW


def _verdict(state: WhatsAppState) -> int | None:
    if state is WhatsAppState.ONLINE:
        return PAIRED
    if state in _REFUSALS:
        return REFUSED
    return NOT_NOW if state in (WhatsAppState.FAILED, WhatsAppState.STOPPED) else None
