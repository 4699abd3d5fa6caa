"""What bypasses logging, led into it: uncaught exceptions, and what native code prints."""

import logging
import os
import sys
import threading
from asyncio import AbstractEventLoop
from types import TracebackType
from typing import Any, BinaryIO, TextIO

LONGEST_LINE = 8192
"""Bytes of a printed line that are kept; a QR drawn at once has fewer per line."""

log = logging.getLogger("whatsapp_worker.process")
native_log = logging.getLogger("native.stdout")


def protect_stdout() -> TextIO:
    """Keep standard output for our lines alone, and return it.

    neonize's Go code prints to file descriptor 1 whatever `sys.stdout` is.  From here on that
    descriptor is a pipe: what anybody prints there becomes masked DEBUG lines of the logger
    `native.stdout`, and the stream returned is the real standard output.  Call it once per
    process, before anything prints.  Standard error stays as it is: a Go panic or a fatal error
    of the interpreter must be readable when nothing of ours runs any more.
    """
    sys.stdout.flush()
    real = os.dup(1)
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(writer)
    # A daemon thread: the pipe never ends while somebody could still print.
    threading.Thread(
        target=_drain, args=(os.fdopen(reader, "rb"),), name="native-stdout", daemon=True
    ).start()
    return os.fdopen(real, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def _drain(pipe: BinaryIO) -> None:
    whole = True  # Of a longer line, only the beginning is logged.
    while line := pipe.readline(LONGEST_LINE):
        if whole and line.strip():
            native_log.debug("%s", line.decode("utf-8", "backslashreplace").rstrip())
        whole = line.endswith(b"\n")


def install_exception_hooks(loop: AbstractEventLoop) -> None:
    """Log what nobody caught, instead of printing it in clear: anywhere in this process."""
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable
    loop.set_exception_handler(_log_loop)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):  # Somebody pressed Ctrl+C: no news to anybody.
        return
    log.critical("the worker ends by an error nobody expected", exc_info=(kind, error, traceback))


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "unknown"
        log.error("thread %s ended by an error", name, exc_info=args.exc_value)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    what = args.err_msg or "an error was raised where none can be caught"
    log.error("%s: %r", what, args.object, exc_info=args.exc_value)


def _log_loop(_: AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("asyncio: %s", context.get("message"), exc_info=context.get("exception"))
