"""What the server heard and said, and what seemed wrong to it."""

import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from tests.whatsapp_server.stanza import Node

KEPT = 2000
"""Stanzas; a campaign of thousands of messages must not fill the memory."""


class Direction(StrEnum):
    """Who spoke."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stanza; it becomes text only when somebody looks.

    Attributes:
        at: in Unix seconds.
    """

    at: float
    direction: Direction
    node: Node

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{clock}.{int(self.at % 1 * 1000):03d} {self.direction}: {self.node}"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What a recipient would miss although the client may believe it arrived.

    Attributes:
        id: of the message.
        what: one sentence.
    """

    id: str
    what: str


@dataclass(slots=True)
class Journal:
    """Keeps the newest stanzas of all connections, and all anomalies."""

    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=KEPT))
    anomalies: list[Anomaly] = field(default_factory=list)

    def heard(self, node: Node) -> None:
        """A client said this."""
        self.entries.append(Entry(time.time(), Direction.CLIENT, node))

    def said(self, node: Node) -> None:
        """The server said this."""
        self.entries.append(Entry(time.time(), Direction.SERVER, node))

    def anomaly(self, message_id: str, what: str) -> None:
        """Somebody would miss this message."""
        self.anomalies.append(Anomaly(message_id, what))

    def find(self, tag: str, **attrs: str) -> list[Entry]:
        """Entries whose stanza has this tag and these attributes, oldest first."""
        wanted = attrs.items()
        return [
            entry
            for entry in self.entries
            if entry.node.tag == tag
            and all(str(entry.node.attrs.get(name)) == value for name, value in wanted)
        ]
