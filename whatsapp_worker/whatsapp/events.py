"""What can happen to the WhatsApp session, as small frozen values."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection was begun."""


@dataclass(frozen=True, slots=True)
class CodeShown:
    """WhatsApp wants this device to be paired, and gave a code to scan.

    Attributes:
        qr: what the QR code says; a login secret.
        seconds: how long it is valid.
    """

    qr: str = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class Paired:
    """A phone has scanned the code; the library logs in next."""


@dataclass(frozen=True, slots=True)
class PairingFailed:
    """The round of codes is over without a phone."""


@dataclass(frozen=True, slots=True)
class Online:
    """Logged in: messages can be sent."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The connection is lost; the library connects anew by itself."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Connecting failed, and nobody but us tries again.

    Attributes:
        why: one clause for a person.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another client has opened the same session."""


@dataclass(frozen=True, slots=True)
class Banned:
    """WhatsApp shuts the account out for a while.

    Attributes:
        seconds: how long.
        why: until when and what for, a clause for a person.
    """

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Restricted:
    """WhatsApp refuses the login and does not say for how long; the pairing is kept.

    Attributes:
        why: one clause for a person.
    """

    why: str


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """WhatsApp has ended the pairing.

    Attributes:
        why: one clause for a person.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Outdated:
    """WhatsApp no longer talks to this version of the library."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Connecting failed for a reason that waiting alone seldom mends.

    Attributes:
        why: one clause for a person.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """What was waited for has not happened in its time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A person ran `whatsapp-worker pair`."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The worker is stopping."""


Refusal = Replaced | Banned | Restricted | LoggedOut | Outdated | Failed

Event = (
    Dialled
    | CodeShown
    | Paired
    | PairingFailed
    | Online
    | Offline
    | Unreachable
    | Overdue
    | Asked
    | Closed
    | Refusal
)
