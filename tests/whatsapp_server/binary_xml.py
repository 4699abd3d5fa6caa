"""WhatsApp's binary XML: stanzas to bytes and back.

The format as whatsmeow reads and writes it: a node is a list of its tag, its attributes in pairs
and perhaps its content; words of the dictionaries are abbreviated; all numbers are big-endian.
"""

import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

from tests.whatsapp_server.installed import Tokens
from tests.whatsapp_server.stanza import (
    JID,
    LID_SERVER,
    PHONE_NUMBER_SERVER,
    Attribute,
    Content,
    Node,
)

COMPRESSED = 2
"""Flag in the first byte of a frame: zlib follows."""

LARGEST_FRAME = 1 << 24
"""Bytes, unpacked: the length of a frame on the wire has three bytes."""

DEEPEST = 64
"""Nodes inside each other; real stanzas have fewer than ten."""

NIBBLES = "0123456789-."
HEXADECIMALS = "0123456789ABCDEF"


class Kind(IntEnum):
    """The first byte of a value, unless it is a word of the first dictionary."""

    NOTHING = 0
    DICTIONARY_0 = 236
    DICTIONARY_3 = 239
    DEVICE = 247
    LIST_8 = 248
    LIST_16 = 249
    JID = 250
    HEXADECIMAL = 251
    BYTES_8 = 252
    BYTES_20 = 253
    BYTES_32 = 254
    NIBBLE = 255


DOMAINS = {PHONE_NUMBER_SERVER: 0, LID_SERVER: 1}
"""How the address of a device names its server."""

SERVERS = {number: server for server, number in DOMAINS.items()}

LIST_SIZES = {Kind.LIST_8: 1, Kind.LIST_16: 2}
BYTES_SIZES = {Kind.BYTES_8: 1, Kind.BYTES_20: 3, Kind.BYTES_32: 4}
"""How many bytes the length has; of BYTES_20 only the lower 20 bits count."""

Value: TypeAlias = str | bytes | JID


class Malformed(ValueError):
    """These bytes are no stanza, or this stanza has no bytes."""


class Codec:
    """Encodes and decodes with the dictionaries of one version of the client."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._abbreviations = {
            word: bytes([Kind.DICTIONARY_0 + dictionary, index])
            for dictionary, words in enumerate(tokens.double)
            for index, word in enumerate(words)
        } | {word: bytes([index]) for index, word in enumerate(tokens.single) if word}

    def encode(self, node: Node) -> bytes:
        """The bytes of a frame, not compressed.

        Raises: Malformed, if an address has a device that the format cannot express.
        """
        out = bytearray(1)
        self._write_node(out, node)
        return bytes(out)

    def decode(self, frame: bytes) -> Node:
        """The stanza in a frame.

        Raises: Malformed.
        """
        if not frame:
            raise Malformed("an empty frame")
        data = _unpacked(frame[1:]) if frame[0] & COMPRESSED else frame[1:]
        return _Reader(data, self._tokens).whole()

    def _write_node(self, out: bytearray, node: Node) -> None:
        _write_list(out, 1 + 2 * len(node.attrs) + (node.content is not None))
        self._write_text(out, node.tag)
        for name, value in node.attrs.items():
            self._write_text(out, name)
            self._write_attribute(out, value)
        if isinstance(node.content, bytes):
            _write_bytes(out, node.content)
        elif node.content is not None:
            _write_list(out, len(node.content))
            for child in node.content:
                self._write_node(out, child)

    def _write_attribute(self, out: bytearray, value: Attribute) -> None:
        if isinstance(value, str):
            self._write_text(out, value)
        elif value.device:
            if value.server not in DOMAINS or value.device > 255:
                raise Malformed("the device of an address has no place on the wire")
            out += bytes([Kind.DEVICE, DOMAINS[value.server], value.device])
            self._write_text(out, value.user)
        else:
            out.append(Kind.JID)
            if value.user:
                self._write_text(out, value.user)
            else:
                out.append(Kind.NOTHING)
            self._write_text(out, value.server)

    def _write_text(self, out: bytearray, text: str) -> None:
        # Numbers could be packed two digits to the byte: clients read them either way.
        word = self._abbreviations.get(text)
        if word is None:
            _write_bytes(out, text.encode())
        else:
            out += word


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, LARGEST_FRAME)
    except zlib.error:
        raise Malformed("a compressed frame cannot be unpacked") from None
    if not unpacker.eof or unpacker.unused_data:
        raise Malformed("a compressed frame is too large or cut off")
    return unpacked


def _write_list(out: bytearray, size: int) -> None:
    if size == 0:
        out.append(Kind.NOTHING)
    elif size < 1 << 8:
        out += bytes([Kind.LIST_8, size])
    elif size < 1 << 16:
        out.append(Kind.LIST_16)
        out += size.to_bytes(2, "big")
    else:
        raise Malformed("too many children or attributes")


def _write_bytes(out: bytearray, data: bytes) -> None:
    if len(data) < 1 << 8:
        out += bytes([Kind.BYTES_8, len(data)])
    elif len(data) < 1 << 20:
        out.append(Kind.BYTES_20)
        out += len(data).to_bytes(3, "big")
    else:
        out.append(Kind.BYTES_32)
        out += len(data).to_bytes(4, "big")
    out += data


class _Reader:
    """Reads one node; each method takes its bytes from where the last one stopped."""

    def __init__(self, data: bytes, tokens: Tokens) -> None:
        self._data = data
        self._at = 0
        self._depth = 0
        self._tokens = tokens
        self._readers: dict[int, Callable[[], Value]] = {
            Kind.NOTHING: str,
            Kind.DEVICE: self._device,
            Kind.JID: self._jid,
            Kind.HEXADECIMAL: lambda: self._packed(HEXADECIMALS),
            Kind.NIBBLE: lambda: self._packed(NIBBLES),
        }

    def whole(self) -> Node:
        node = self._node(self._number(1))
        if self._at != len(self._data):
            raise Malformed("bytes are left over after the stanza")
        return node

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise Malformed("the stanza is cut off")
        return self._data[start : self._at]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _node(self, kind: int) -> Node:
        if kind not in LIST_SIZES:
            raise Malformed("a node begins with something else than a list")
        size = self._number(LIST_SIZES[Kind(kind)])
        if size == 0:
            raise Malformed("a node without a tag")
        tag = self._text()
        attrs = {self._text(): self._attribute() for _ in range((size - 1) // 2)}
        return Node(tag, attrs, self._content() if size % 2 == 0 else None)

    def _content(self) -> Content:
        kind = self._number(1)
        if kind in LIST_SIZES:
            return self._nodes(self._number(LIST_SIZES[Kind(kind)]))
        if kind == Kind.NOTHING:
            return ()
        value = self._value(kind)
        return value if isinstance(value, bytes) else str(value).encode()

    def _nodes(self, count: int) -> tuple[Node, ...]:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Malformed("nodes are nested too deeply")
        nodes = tuple(self._node(self._number(1)) for _ in range(count))
        self._depth -= 1
        return nodes

    def _text(self) -> str:
        value = self._attribute()
        if not isinstance(value, str):
            raise Malformed("an address where a text should be")
        return value

    def _attribute(self) -> Attribute:
        value = self._value(self._number(1))
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Malformed("a text is not UTF-8") from None

    def _value(self, kind: int) -> Value:
        if 0 < kind < len(self._tokens.single):
            return self._tokens.single[kind]
        if kind in BYTES_SIZES:
            size = self._number(BYTES_SIZES[Kind(kind)])
            return self._take(size & 0xFFFFF if kind == Kind.BYTES_20 else size)
        if Kind.DICTIONARY_0 <= kind <= Kind.DICTIONARY_3:
            return self._tokens.double[kind - Kind.DICTIONARY_0][self._number(1)]
        if kind not in self._readers:
            raise Malformed(f"a value of the unknown kind {kind}")
        return self._readers[kind]()

    def _packed(self, alphabet: str) -> str:
        """Two characters to the byte; the top bit of the length says that the last is filling."""
        size = self._number(1)
        codes = [code for byte in self._take(size & 0x7F) for code in (byte >> 4, byte & 0xF)]
        if size & 0x80:
            codes = codes[:-1]
        if any(code >= len(alphabet) for code in codes):
            raise Malformed("a packed text has a character that does not exist")
        return "".join(alphabet[code] for code in codes)

    def _jid(self) -> JID:
        user = self._text()
        return JID(user, self._text())

    def _device(self) -> JID:
        domain, device = self._take(2)
        if domain not in SERVERS:
            raise Malformed(f"a device in the unknown domain {domain}")
        return JID(self._text(), SERVERS[domain], device)
