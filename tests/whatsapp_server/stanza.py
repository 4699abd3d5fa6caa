"""What travels inside a WhatsApp connection: addresses (JID) and stanzas (Node)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

PHONE_NUMBER_SERVER = "s.whatsapp.net"
LID_SERVER = "lid"
SHOWN_TEXT = 64
"""Characters of a text content that `str(node)` shows; more is given as a number of bytes."""


@dataclass(frozen=True, slots=True)
class JID:
    """Whom a stanza comes from or goes to: a person, one of their devices, or (no user) the server.

    A person has two: their phone number and a LID, an opaque number on the server `lid`. Device 0
    is the phone itself.
    """

    user: str
    server: str = PHONE_NUMBER_SERVER
    device: int = 0

    @classmethod
    def parse(cls, text: str) -> "JID":
        """Read what `str` writes: `user@server`, `user:device@server` or `server`."""
        address, _, server = text.rpartition("@")
        user, _, device = address.partition(":")
        return cls(user, server, int(device or 0))

    def __str__(self) -> str:
        if not self.user:
            return self.server
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}"

    @property
    def bare(self) -> "JID":
        """The person, whichever device it is."""
        return JID(self.user, self.server)

    @property
    def signal_address(self) -> str:
        """The name of a device's Signal session, as whatsmeow forms it: a LID is marked by `_1`."""
        mark = "_1" if self.server == LID_SERVER else ""
        return f"{self.user}{mark}:{self.device}"


SERVER = JID("")
"""The server itself, as sender or addressee of a stanza."""

Attribute: TypeAlias = str | JID
Content: TypeAlias = "bytes | tuple[Node, ...] | None"


class Incomplete(Exception):
    """A stanza lacks an attribute or a child that its reader needs, or has it in another form."""


@dataclass(frozen=True, slots=True, init=False)
class Node:
    """One stanza or a part of it: a tag, attributes, and bytes or children.

    Made from what is at hand: numbers become text, attributes that are None are left out, a text
    becomes its UTF-8 bytes, as the wire knows no difference.
    """

    tag: str
    attrs: Mapping[str, Attribute]
    content: Content

    def __init__(
        self,
        tag: str,
        attrs: Mapping[str, Attribute | int | None] | None = None,
        content: "bytes | str | Iterable[Node] | None" = None,
    ) -> None:
        kept = {
            name: value if isinstance(value, JID | str) else str(value)
            for name, value in (attrs or {}).items()
            if value is not None
        }
        # The only way to set a field of a frozen dataclass.
        object.__setattr__(self, "tag", tag)
        object.__setattr__(self, "attrs", kept)
        object.__setattr__(self, "content", _content(content))

    @property
    def children(self) -> "tuple[Node, ...]":
        """The nodes inside; none if the content is bytes."""
        return self.content if isinstance(self.content, tuple) else ()

    @property
    def data(self) -> bytes:
        """The content as bytes.

        Raises: Incomplete, if there is none or there are children.
        """
        if not isinstance(self.content, bytes):
            raise Incomplete(f"<{self.tag}> has no bytes")
        return self.content

    def get(self, *path: str) -> "Node | None":
        """Follow the tags of `path` downwards, always by the first child of that tag."""
        node: Node | None = self
        for tag in path:
            node = next(node.find(tag), None) if node else None
        return node

    def need(self, *path: str) -> "Node":
        """Follow `path` as `get` does.

        Raises: Incomplete, if there is no such node.
        """
        node = self.get(*path)
        if node is None:
            raise Incomplete(f"<{self.tag}> has no <{'><'.join(path)}>")
        return node

    def find(self, tag: str) -> "Iterator[Node]":
        """The children of this tag, in order."""
        return (child for child in self.children if child.tag == tag)

    def text(self, name: str) -> str:
        """An attribute as text.

        Raises: Incomplete, if it is missing.
        """
        if name not in self.attrs:
            raise Incomplete(f"<{self.tag}> has no attribute {name}")
        return str(self.attrs[name])

    def jid(self, name: str) -> JID:
        """An attribute that is an address.

        Raises: Incomplete, if it is missing or plain text.
        """
        value = self.attrs.get(name)
        if not isinstance(value, JID):
            raise Incomplete(f"<{self.tag}> has no address in {name}")
        return value

    def __str__(self) -> str:
        attrs = "".join(f' {name}="{value}"' for name, value in self.attrs.items())
        if self.content is None:
            return f"<{self.tag}{attrs}/>"
        if isinstance(self.content, bytes):
            inside = _shown(self.content)
        else:
            inside = "".join(str(child) for child in self.content)
        return f"<{self.tag}{attrs}>{inside}</{self.tag}>"


def _content(given: bytes | str | Iterable[Node] | None) -> Content:
    if isinstance(given, str):
        return given.encode()
    if given is None or isinstance(given, bytes):
        return given
    return tuple(given)


def _shown(content: bytes) -> str:
    if len(content) <= SHOWN_TEXT and content.isascii() and content.decode().isprintable():
        return content.decode()
    return f"[{len(content)} bytes]"
