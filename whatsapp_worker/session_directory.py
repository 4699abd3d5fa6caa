"""The directory that holds the WhatsApp session and the ledger: private, and one daemon's alone."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from whatsapp_worker.errors import Misconfigured, WorkerError

LOCK_NAME = "lock"


class Held(WorkerError):
    """Another process uses the session directory."""


def lock_path(directory: Path) -> Path:
    """Where the lock of a session directory lies."""
    return directory / LOCK_NAME


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Make the directory (0700) if need be and hold it until the context ends, or the process.

    Two daemons on one WhatsApp session would replace each other for ever, and would both send:
    an advisory lock on a file tells them apart, and dies with its process (flock(2)).

    Raises:
        Misconfigured: the directory can not be made or written to.
        Held: another process holds it; the message names that process.
    """
    descriptor = _open(directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise Held(
                f"WHATSAPP_SESSION_PATH {directory} is in use by {holder or 'another process'}: "
                "stop that one first, or give this one a directory of its own"
            ) from None
        with suppress(OSError):  # On a full disk the lock holds as well, without our name.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(lock_path(directory), flags, 0o600)
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(0o700)  # Volumes come as they are; what is ours we close.
    except OSError as error:
        raise Misconfigured(
            f"WHATSAPP_SESSION_PATH {directory} can not be used ({error.strerror}): "
            "make it a directory this user can write to"
        ) from None
    return descriptor
