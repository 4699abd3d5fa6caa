"""Notices an incomplete neonize before importing it, because the import would try to download."""

import importlib
import importlib.util
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whatsapp_worker import memory
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.whatsapp.client import NewClient

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SUFFIXES = {"windows": "dll", "darwin": "dylib"}


def check_installation() -> None:
    """Make sure that neonize can be imported without reaching for the network.

    Raises:
        Misconfigured: a part of it is missing; says which and how to get it.
    """
    directory = _package_directory()
    library = directory / native_library_name()
    if not library.is_file():
        raise Misconfigured(
            f"neonize is installed without {library.name}, its library for this machine: "
            "install the neonize wheel made for this platform (see requirements.lock)"
        )
    try:
        importlib.import_module("magic")
    except ImportError as error:
        raise Misconfigured(
            "libmagic is missing, which neonize needs: apt-get install libmagic1"
        ) from error


def load_native(database: Path, proxy: str | None) -> NewClient:
    """Import neonize; takes about a second.

    Args:
        database: the session database.
        proxy: address of a proxy to WhatsApp, or None.

    Returns:
        What makes its clients.

    Raises:
        Misconfigured: it cannot be imported.
    """
    check_installation()
    try:
        with _logging_kept():
            from whatsapp_worker.whatsapp import native
    except (ImportError, OSError) as error:
        raise Misconfigured(f"neonize cannot be loaded here: {error}") from error
    memory.all_is_built()  # 28,000 objects more, which would take 5 ms to look through (measured).
    return lambda name, emit: native.NeonizeClient(name, database, proxy, emit)


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what the import does to the root logger, and quiet the library's own loggers.

    Its level is also what the Go half logs at.  Warnings are needed: they are the only word of a
    message that was encrypted for nobody (measured).  More would name JIDs and pairing codes.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    for name in ("neonize.utils.log", "whatsmeow", "Whatsmeow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It warns that ffmpeg is missing, which only stickers and videos need.
    logging.getLogger("neonize.utils.ffmpeg").setLevel(logging.ERROR)


def native_library_name() -> str:
    """The file neonize looks for on this machine; a missing one is what it would download."""
    system = platform.system().lower()
    machine = platform.machine().lower()
    architecture = _ARCHITECTURES.get(machine, machine)
    return f"neonize-{system}-{architecture}.{_SUFFIXES.get(system, 'so')}"


def _package_directory() -> Path:
    spec = importlib.util.find_spec("neonize")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("neonize is not installed: pip install -r requirements.lock")
    return Path(spec.submodule_search_locations[0])
