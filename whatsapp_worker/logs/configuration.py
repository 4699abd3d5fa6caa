"""Where log lines go, from which level, and in which format."""

import logging
import os
import sys
from contextlib import ExitStack
from typing import TextIO

from whatsapp_worker.logs.file import file_handler
from whatsapp_worker.logs.formats import JsonLines, ReadableLines
from whatsapp_worker.settings import Environment, Settings

LIBRARY_LEVELS = {
    # amqp/ says each change of state once; these two say every attempt.
    "aio_pika": logging.CRITICAL,
    "aiormq": logging.CRITICAL,
    "pamqp": logging.WARNING,
    "aiosqlite": logging.WARNING,  # Its DEBUG holds the values of every statement.
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    "neonize": logging.WARNING,
    "opentelemetry": logging.ERROR,  # While a collector is away it would say every attempt.
    "urllib3": logging.WARNING,
    "whatsmeow": logging.WARNING,
    "Whatsmeow": logging.WARNING,
}
"""The least level at which a library's lines are worth reading, whatever LOG_LEVEL says."""


def configure(settings: Settings, *, stream: TextIO | None = None) -> ExitStack:
    """Send every logger's lines to the stream, and to a file if settings say so.

    Call it before neonize is imported: that configures logging too, unless somebody has.

    Args:
        settings: ENV decides the format, LOG_LEVEL what is written, LOG_TO_FILE and LOG_DIR
            whether and where it is also written to a file.
        stream: where lines go; standard output if None.

    Returns:
        What ends writing to the file when closed, after the lines that wait for it.  The stream
        stays: whatever says its last word, says it masked.

    Raises:
        Misconfigured: LOG_DIR cannot be written.
    """
    target = stream or sys.stdout
    to_stream = logging.StreamHandler(target)
    to_stream.setFormatter(
        _formatter(settings, colour=target.isatty() and not os.environ.get("NO_COLOR"))
    )
    handlers: list[logging.Handler] = [to_stream]
    closing = ExitStack()
    if settings.log_to_file:
        to_file = file_handler(settings.log_dir, closing)
        to_file.setFormatter(_formatter(settings, colour=False))
        handlers.append(to_file)
    _take_over(handlers, settings.log_level)
    return closing


def _formatter(settings: Settings, *, colour: bool) -> logging.Formatter:
    if settings.env is Environment.PRODUCTION:
        return JsonLines(settings.env)
    return ReadableLines(colour=colour)


def _take_over(handlers: list[logging.Handler], level: str) -> None:
    """Make these the only handlers there are: nobody else's would mask."""
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(level)
    # With it, logging prints the raw arguments of a line that failed to standard error.
    logging.raiseExceptions = False
    # No line of ours names them, and finding them out would take a fifth of a line's time.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    for name, least in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))
