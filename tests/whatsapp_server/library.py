"""The installed neonize, prepared so that it trusts our server."""

from dataclasses import dataclass
from pathlib import Path

from tests.whatsapp_server.binary_xml import Codec
from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.installed import patched_copy, token_dictionaries


@dataclass(frozen=True, slots=True)
class Library:
    """A copy of neonize, and what a server needs to be trusted by it and to understand it.

    Attributes:
        directory: comes first in a client's PYTHONPATH.
        root: the key that certifies servers.
        codec: speaks the copy's dialect.
    """

    directory: Path
    root: KeyPair
    codec: Codec

    @classmethod
    def prepare(cls, directory: Path) -> "Library":
        """Make the copy in `directory`; once per test run is enough for any number of servers.

        Raises:
            DifferentNeonize: another version is installed than these tests know.
        """
        root = KeyPair()
        patched_copy(directory, root.public)
        return cls(directory, root, Codec(token_dictionaries()))
