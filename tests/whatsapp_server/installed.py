"""The installed neonize package, read without importing it: that would load the Go library here.

Nothing of it is copied into this repository: the protobuf modules and the dictionaries of the
binary XML come out of the very library that is tested.
"""

import hashlib
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from tests.whatsapp_server.shared_library import GoLibrary, UnknownLayout

ROOT_KEY_SHA256 = "8f5c9b62980545504f24221417a5ebd80fafd0c4f85f0b33e3aed78445a0cd7d"
"""Of whatsmeow's `WACertPubKey`, 32 bytes: the key that certifies the real servers."""

KEY_SIZE = 32
KEY_SECTION = ".noptrdata"
"""Where Go's linker puts a variable that holds no pointer, aligned to its own size up to 32."""

SINGLE_TOKENS = 236
DOUBLE_DICTIONARIES, DOUBLE_TOKENS = 4, 256


@dataclass(frozen=True, slots=True)
class Tokens:
    """The words that the binary XML abbreviates: to one byte, or to a dictionary and a byte."""

    single: tuple[str, ...]
    double: tuple[tuple[str, ...], ...]


def package_directory() -> Path:
    """Where neonize is installed."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("neonize is not installed")
    return Path(spec.origin).parent


def library_path(package: Path) -> Path:
    """The Go library inside a copy of the package."""
    found = list(package.glob("neonize-linux-*.so"))
    if len(found) != 1:
        raise UnknownLayout(f"{len(found)} Linux libraries in the neonize package instead of 1")
    return found[0]


@cache
def token_dictionaries() -> Tokens:
    """The dictionaries of the installed library; read once per process.

    Raises: UnknownLayout, if they are not where 0.5.2 has them.
    """
    library = GoLibrary.read(library_path(package_directory()))
    # Token 0 of the first is the empty string, which stands for the end of a list.
    single = ("", *library.strings_from("xmlstreamstart", "xmlstreamend", SINGLE_TOKENS - 1))
    flat = library.strings_from("read-self", "active", DOUBLE_DICTIONARIES * DOUBLE_TOKENS)
    if len({*single, *flat}) < len(single) + len(flat):
        raise UnknownLayout("the dictionaries of the binary XML have a word twice")
    double = tuple(flat[at : at + DOUBLE_TOKENS] for at in range(0, len(flat), DOUBLE_TOKENS))
    return Tokens(single, double)


def patched_copy(target: Path, root_public_key: bytes) -> None:
    """Copy the package to `target`/neonize, where it trusts servers certified by this key.

    Nothing else is changed. A process uses the copy if `target` comes first in its PYTHONPATH.

    Raises: UnknownLayout, if the key to replace is not there exactly once.
    """
    package = package_directory()
    original = library_path(package)
    # Compiled modules too: they stay valid, as the copies keep their times.
    shutil.copytree(package, target / "neonize", ignore=shutil.ignore_patterns("*.pyi", "*.so"))
    library = bytearray(original.read_bytes())
    at = _root_key_offset(original)
    library[at : at + KEY_SIZE] = root_public_key
    (target / "neonize" / original.name).write_bytes(library)


def _root_key_offset(path: Path) -> int:
    library = GoLibrary.read(path)
    start, size = library.section(KEY_SECTION)
    found = [
        at
        for at in range(start, start + size, KEY_SIZE)
        if hashlib.sha256(library.blob[at : at + KEY_SIZE]).hexdigest() == ROOT_KEY_SHA256
    ]
    if len(found) != 1:
        raise UnknownLayout(f"the root key of WhatsApp's servers was found {len(found)} times")
    return found[0]


@contextmanager
def _on_the_path(directory: Path) -> Iterator[None]:
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))


def _protobufs(name: str) -> ModuleType:
    # By the names under which the generated modules import each other, and under which neonize
    # would import them as well: the same modules, should both happen in one process.
    with _on_the_path(package_directory() / "proto"):
        return importlib.import_module(name)


adv = _protobufs("waAdv.WAAdv_pb2")
"""Device identities: what a phone signs when it links a device."""

cert = _protobufs("waCert.WACert_pb2")
"""The certificates of the handshake."""

companion_reg = _protobufs("waCompanionReg.WAWebProtobufsCompanionReg_pb2")
"""What a device says about itself when it is linked."""

e2e = _protobufs("waE2E.WAWebProtobufsE2E_pb2")
"""Messages, as they are once decrypted."""

wa6 = _protobufs("waWa6.WAWebProtobufsWa6_pb2")
"""The messages of the handshake and what a client says about itself when it logs in."""
