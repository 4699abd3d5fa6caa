"""What the server does instead of what it should, in small rules: a script reads like sentences.

    server.rules.add(OnMessage(AckError(463)), times=1)
    server.rules.add(OnMessage(LoseAck(), to="15551110001"))
    server.rules.add(OnQuery(Query.USYNC, ErrorReply(429, "rate-overlimit")))

Without a rule everything goes well.  A rule is a situation with its effect; the `Rulebook` keeps
them and says which one applies.
"""

from dataclasses import dataclass
from enum import StrEnum


class Query(StrEnum):
    """The questions (`iq` stanzas) a client asks; the values are our own names."""

    USYNC = "usync"
    """Who has this number, and on which devices?"""
    PREKEYS = "prekeys"
    """Keys of a recipient's device, to write to it for the first time."""
    PREKEY_COUNT = "prekey count"
    """How many of the client's own prekeys are left on the server?"""
    PREKEY_UPLOAD = "prekey upload"
    """Here are prekeys of the client."""
    MEDIA_CONN = "media connection"
    """Where may attachments be uploaded?"""
    KEEPALIVE = "keepalive"
    """Are you there?  Every 20 to 30 s (measured)."""
    ACTIVE = "active"
    """The login is complete: send what waits."""
    LINK_CODE = "link code"
    """Pairing by a code typed on the phone."""
    LOGOUT = "logout"
    """The client unlinks itself."""
    OTHER = "other"
    """All others: they are answered with an empty result."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status instead of the wanted answer."""

    status: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Hang up without a word."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Never answer; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Answer, but so many seconds later; what comes in meanwhile is answered in time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An `iq` of type error, for example 429 "rate-overlimit"."""

    code: int
    text: str = "test"


@dataclass(frozen=True, slots=True)
class Fail:
    """A `failure` stanza instead of `success`, then the end of the connection.

    Attributes:
        reason: 401 logged out, 402 banned for a while, 403 main device gone, 405 outdated, ...
        code, expire: of a 402: why, and for how many seconds.
    """

    reason: int
    code: int | None = None
    expire: int | None = None


@dataclass(frozen=True, slots=True)
class BadHmac:
    """The phone's word is signed with a wrong secret, as if somebody sat in between."""


@dataclass(frozen=True, slots=True)
class AckError:
    """The message is refused with this code and delivered to nobody."""

    code: int


@dataclass(frozen=True, slots=True)
class LoseMessage:
    """The message vanishes: neither delivered nor acknowledged."""


@dataclass(frozen=True, slots=True)
class LoseAck:
    """The message is delivered, its acknowledgement never sent."""


@dataclass(frozen=True, slots=True)
class DelayAck:
    """The message is delivered at once and acknowledged so many seconds later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DropBefore:
    """The message vanishes and the TCP connection is reset."""


@dataclass(frozen=True, slots=True)
class DropAfter:
    """The message is delivered, then the TCP connection is reset before the acknowledgement."""


MessageEffect = AckError | LoseMessage | LoseAck | DelayAck | DropBefore | DropAfter


@dataclass(frozen=True, slots=True)
class OnDial:
    """A client asks the proxy for a connection to WhatsApp or to its media host."""

    effect: Answer | Refuse


@dataclass(frozen=True, slots=True)
class OnUpgrade:
    """A client asks for a websocket."""

    effect: Answer


@dataclass(frozen=True, slots=True)
class OnHandshake:
    """A client begins the Noise handshake."""

    effect: Silence


@dataclass(frozen=True, slots=True)
class OnLogin:
    """A linked device logs in."""

    effect: Fail | Silence


@dataclass(frozen=True, slots=True)
class OnPairing:
    """A phone scans a code, or a code is typed on it."""

    effect: BadHmac


@dataclass(frozen=True, slots=True)
class OnQuery:
    """A client asks a question."""

    query: Query
    effect: ErrorReply | Silence | Delay


@dataclass(frozen=True, slots=True)
class OnMessage:
    """A client sends a message.

    Attributes:
        to: only messages to this number (digits); None is any recipient.
    """

    effect: MessageEffect
    to: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Clients send more messages than so many per second: the further ones get the effect.

    Attributes:
        per_second: how many are allowed within any one second.
    """

    per_second: int
    effect: MessageEffect


@dataclass(frozen=True, slots=True)
class OnUpload:
    """A client uploads an attachment."""

    effect: Answer


Situation = (
    OnDial
    | OnUpgrade
    | OnHandshake
    | OnLogin
    | OnPairing
    | OnQuery
    | OnMessage
    | RateLimit
    | OnUpload
)

MUTED_KEEPALIVE = OnQuery(Query.KEEPALIVE, Silence())
"""The server no longer says that it is there; everything else works."""
