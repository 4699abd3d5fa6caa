"""Where the session's files lie: what holds the login is its owner's alone."""

import os
from pathlib import Path

from whatsapp_worker.errors import Misconfigured

DATABASE = "whatsapp.db"
PAIRING_SOCKET = "pair.sock"

# The longest address of a unix socket on Linux (unix(7)), without its final zero.
LONGEST_ADDRESS = 107


def database(directory: Path) -> Path:
    """Where neonize keeps the pairing and its keys."""
    return directory / DATABASE


def pairing_socket(directory: Path) -> Path:
    """Where a running worker answers `whatsapp-worker pair`."""
    return directory / PAIRING_SOCKET


def prepare(directory: Path) -> None:
    """Make the session directory (0700) and the database file (0600), if need be.

    SQLite gives its journals the mode of the database, so an empty file made here keeps all of
    them closed.  A directory that is somebody else's, such as a mounted volume, keeps its mode.

    Raises:
        Misconfigured: it cannot be used; says why.
    """
    longest = LONGEST_ADDRESS - len(f"/{PAIRING_SOCKET}")
    if len(os.fsencode(directory)) > longest:
        raise Misconfigured(
            f"WHATSAPP_SESSION_PATH is too long: a socket goes there, so {longest} bytes at most"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid == os.geteuid():
            directory.chmod(0o700)
        database(directory).touch(mode=0o600)
        for file in directory.glob(f"{DATABASE}*"):
            file.chmod(0o600)
    except OSError as error:
        raise Misconfigured(
            f"WHATSAPP_SESSION_PATH {directory} can not be used ({error.strerror}): "
            "make it a directory this user can write to"
        ) from None
