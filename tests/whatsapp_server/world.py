"""What all parts of one server share."""

from dataclasses import dataclass, field

from tests.whatsapp_server.journal import Journal
from tests.whatsapp_server.people import People
from tests.whatsapp_server.rulebook import Rulebook

WEBSOCKET_HOST, MEDIA_HOST = "web.whatsapp.com", "mmg.whatsapp.net"


@dataclass(frozen=True, slots=True)
class World:
    """Who there is, what is to go wrong, and what happened."""

    people: People = field(default_factory=People)
    rules: Rulebook = field(default_factory=Rulebook)
    journal: Journal = field(default_factory=Journal)
