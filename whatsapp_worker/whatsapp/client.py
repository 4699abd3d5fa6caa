"""What the session and the sender need of neonize: the seam a fake fits as well."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from whatsapp_worker.whatsapp import events


class NativeError(Exception):
    """The library's own words about a failure.  They may name JIDs: classify, never repeat."""


class Unbuildable(Exception):
    """No message can be made of this text; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """WhatsApp took a message.

    Attributes:
        message_id: under which id.
        own_users: the user parts of our own JIDs, to tell our devices from the recipient's.
    """

    message_id: str
    own_users: frozenset[str]


class Client(Protocol):
    """One connection to WhatsApp.  Every method may block; each may be called from any thread."""

    def connect(self) -> None:
        """Connect and stay until `stop`; raises NativeError when connecting fails."""

    def stop(self) -> None:
        """Disconnect; `connect` then returns, except after a failed pairing (measured)."""

    def is_connected(self) -> bool:
        """Whether the websocket is up; blocks while the library dials."""

    def send_text(self, number: str, text: str) -> Accepted:
        """Send a text to a number (digits only) and wait for WhatsApp's answer.

        Raises NativeError with the library's words, and Unbuildable when nothing was sent.
        """

    def devices_of(self, person: str) -> frozenset[int]:
        """Say which devices somebody has; right after a send, without asking WhatsApp.

        Args:
            person: the address, as the library's log names it, without a device.

        Returns:
            The numbers of the devices; the phone is 0.  Raises NativeError.
        """

    def flush_log(self) -> None:
        """Wait until everything the library has logged so far went through `logging`."""

    def pair_phone(self, number: str) -> str:
        """Get a code to type on the phone with this number (digits only); raises NativeError."""


Emit = Callable[[events.Event], None]
NewClient = Callable[[str, Emit], Client]
"""Makes a client from a name that is unique in this process, and where to tell its events.

The events come from threads of the library; `Emit` must neither block nor raise.
"""
