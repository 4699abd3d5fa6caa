"""The binary XML: there and back, every form that clients write, and no form that breaks us."""

import random
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.whatsapp_server.binary_xml import DEEPEST, Codec, Malformed
from tests.whatsapp_server.installed import token_dictionaries
from tests.whatsapp_server.stanza import JID, LID_SERVER, PHONE_NUMBER_SERVER, SERVER, Node

TOKENS = token_dictionaries()
CODEC = Codec(TOKENS)

ALL_WORDS = [*TOKENS.single[1:], *(word for words in TOKENS.double for word in words)]
# Not `sampled_from`: Hypothesis would print the whole dictionary.
WORDS = st.integers(0, len(ALL_WORDS) - 1).map(lambda index: ALL_WORDS[index])
TEXTS = WORDS | st.text(max_size=20) | st.text("0123456789-.", max_size=20)
DEVICES = st.builds(
    JID, TEXTS, st.sampled_from([PHONE_NUMBER_SERVER, LID_SERVER]), st.integers(0, 255)
)
ADDRESSES = DEVICES | st.builds(JID, TEXTS, TEXTS) | st.just(SERVER)
ATTRIBUTES = st.dictionaries(TEXTS, TEXTS | ADDRESSES, max_size=4)
LEAVES = st.builds(Node, TEXTS, ATTRIBUTES, st.none() | st.binary() | st.just(()))
NODES = st.recursive(
    LEAVES,
    lambda inner: st.builds(Node, TEXTS, ATTRIBUTES, st.lists(inner, max_size=4)),
    max_leaves=6,
)

MESSAGE = CODEC.encode(
    Node(
        "message",
        {"to": JID("15551110001"), "id": "A1"},
        [Node("participants", {}, [Node("to", {"jid": JID("9", LID_SERVER, 3)}, b"12345")])],
    )
)


@given(NODES)
@settings(max_examples=100)
def test_every_stanza_survives_the_wire(node: Node) -> None:
    assert CODEC.decode(CODEC.encode(node)) == node


@given(NODES)
@settings(max_examples=20)
def test_a_compressed_frame_is_read_too(node: Node) -> None:
    assert CODEC.decode(b"\x02" + zlib.compress(CODEC.encode(node)[1:])) == node


@pytest.mark.parametrize("size", [0, 255, 256, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_bytes_of_any_length_survive(size: int) -> None:
    node = Node("enc", {}, bytes(size))
    assert CODEC.decode(CODEC.encode(node)) == node


@pytest.mark.parametrize("count", [0, 1, 255, 256, 3000])
def test_any_number_of_children_survives(count: int) -> None:
    node = Node("list", {}, [Node("item", {"id": number}) for number in range(count)])
    assert CODEC.decode(CODEC.encode(node)) == node


def test_many_families_of_children_survive() -> None:
    node = Node("list", {}, [Node("user", {}, [Node("devices")]) for _ in range(2 * DEEPEST)])
    assert CODEC.decode(CODEC.encode(node)) == node


def test_a_length_of_20_bits_leaves_four_bits_without_a_meaning() -> None:
    assert CODEC.decode(frame("00 f8 02 fc 01 61 fd f0 00 01 62")) == Node("a", {}, b"b")


def test_a_word_of_the_dictionaries_takes_one_byte_or_two() -> None:
    assert len(CODEC.encode(Node("message"))) == 1 + 2 + 1
    assert len(CODEC.encode(Node(TOKENS.double[3][7]))) == 1 + 2 + 2


@pytest.mark.parametrize(
    ("packed", "text"),
    [
        ("ff 02 15 55", "1555"),
        ("ff 83 15 51 0f", "15510"),
        ("ff 82 a1 bf", "-1."),
        ("fb 02 3e b0", "3EB0"),
        ("fb 82 ca ff", "CAF"),
        ("ff 00", ""),
    ],
)
def test_digits_that_a_client_packs_are_unpacked(packed: str, text: str) -> None:
    word = CODEC.encode(Node("message"))[-1:]
    frame = b"\0\xf8\x02" + word + bytes.fromhex(packed)
    assert CODEC.decode(frame) == Node("message", {}, text)
    in_attribute = b"\0\xf8\x03" + word + bytes.fromhex("fc 02 69 69") + bytes.fromhex(packed)
    assert CODEC.decode(in_attribute) == Node("message", {"ii": text})


def frame(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "empty"),
        (frame("00"), "cut off"),
        (frame("00 fc 01 61"), "begins with"),
        (frame("00 f8 00"), "without a tag"),
        (frame("00 f8 01"), "cut off"),
        (frame("00 f8 01 f4"), "unknown kind 244"),
        (frame("00 f8 01 fc 01 ff"), "not UTF-8"),
        (frame("00 f8 01 fc 01 61 00"), "left over"),
        (frame("00 f8 01 fa 00 03"), "an address where"),
        (frame("00 f8 01 ff 01 0f"), "does not exist"),
        (frame("00 f8 03 fc 01 61 fc 01 61 f7 07 01 fc 01 61"), "unknown domain 7"),
        (frame("02 00 00"), "cannot be unpacked"),
        (b"\x02" + zlib.compress(MESSAGE[1:])[:-1], "cut off"),
        (b"\x02" + zlib.compress(bytes((1 << 24) + 1)), "too large"),
        (b"\0" + frame("f8 02 fc 01 61 f8 01") * (DEEPEST + 1) + frame("f8 01 03"), "too deeply"),
        (b"\0" + frame("f8 02 fc 01 61 f8 01") * 100_000, "too deeply"),
    ],
)
def test_what_is_no_stanza_is_refused_with_its_reason(broken: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        CODEC.decode(broken)


def read_or_refuse(data: bytes) -> None:
    """Any outcome is right but another exception, which fails the test."""
    try:
        node = CODEC.decode(data)
    except Malformed:
        return
    # What can be read can be written again, and means the same.
    assert CODEC.decode(CODEC.encode(node)) == node


@given(st.binary())
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)
    read_or_refuse(b"\0\xf8\x02" + data)


@given(st.randoms(use_true_random=False))
@example(random.Random(1))
def test_a_damaged_stanza_is_read_or_refused(chance: random.Random) -> None:
    data = bytearray(MESSAGE)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    read_or_refuse(bytes(data))


@pytest.mark.parametrize("end", range(len(MESSAGE)))
def test_a_stanza_that_is_cut_off_anywhere_is_refused(end: int) -> None:
    with pytest.raises(Malformed):
        CODEC.decode(MESSAGE[:end])


@pytest.mark.parametrize("jid", [JID("1", "g.us", 1), JID("1", device=256)])
def test_a_device_that_the_format_cannot_express_is_refused(jid: JID) -> None:
    with pytest.raises(Malformed):
        CODEC.encode(Node("iq", {"to": jid}))


def test_more_children_than_the_format_can_count_are_refused() -> None:
    with pytest.raises(Malformed):
        CODEC.encode(Node("list", {}, [Node("item")] * (1 << 16)))
