"""Log files that are bounded, private, and never in the way of the event loop."""

import logging
import os
from contextlib import ExitStack
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import Queue

from whatsapp_worker.errors import Misconfigured

NAME = "whatsapp-worker.log"
BYTES = 10 * 1024 * 1024
"""A file's size when it is put aside; with the five kept ones at most 60 MiB in all."""
KEPT = 5
LINES_WAITING = 10_000
"""Lines that may wait for a slow disk; more are left out of the file, not of the stream."""


def file_handler(directory: Path, closing: ExitStack) -> logging.Handler:
    """Return a handler that writes to a file in the directory, on a thread of its own.

    Args:
        directory: made if missing, readable by its owner only.
        closing: gets what writes the waiting lines and closes the file.

    Raises:
        Misconfigured: the directory cannot be written (LOG_DIR).
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _PrivateFile(directory / NAME, maxBytes=BYTES, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            f"LOG_DIR: {directory} cannot be written ({error.strerror}). "
            "Name a directory this user may write to, or set LOG_TO_FILE=false."
        ) from error
    lines: Queue[logging.LogRecord] = Queue()
    listener = QueueListener(lines, file)
    closing.callback(file.close)
    closing.callback(listener.stop)
    listener.start()
    return _Waiting(lines)


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner can read."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)  # It may be there already, more open than that.
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)


class _Waiting(QueueHandler):
    """Formats at once, in the caller's context, and leaves the writing to the listener."""

    queue: "Queue[logging.LogRecord]"

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() < LINES_WAITING:
            self.queue.put_nowait(record)
