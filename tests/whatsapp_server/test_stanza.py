"""Addresses and stanzas: how they are made, read and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.whatsapp_server.stanza import JID, LID_SERVER, SERVER, Incomplete, Node

MESSAGE = Node(
    "message",
    {"to": JID("15551110001"), "id": "A1", "t": 17, "edit": None},
    [
        Node("participants", {}, [Node("to", {"n": 1}), Node("to", {"n": 2})]),
        Node("body", {}, "hello"),
    ],
)


@pytest.mark.parametrize(
    ("jid", "text"),
    [
        (JID("15551110001"), "15551110001@s.whatsapp.net"),
        (JID("15551110001", device=3), "15551110001:3@s.whatsapp.net"),
        (JID("987", LID_SERVER), "987@lid"),
        (SERVER, "s.whatsapp.net"),
    ],
)
def test_an_address_is_written_and_read(jid: JID, text: str) -> None:
    assert str(jid) == text
    assert JID.parse(text) == jid


@given(st.from_regex(r"[0-9]{1,15}", fullmatch=True), st.integers(0, 255))
def test_any_device_is_written_and_read(user: str, device: int) -> None:
    jid = JID(user, LID_SERVER, device)
    assert JID.parse(str(jid)) == jid
    assert jid.bare == JID(user, LID_SERVER)


def test_a_signal_address_tells_numbers_from_lids() -> None:
    assert JID("987", device=2).signal_address == "987:2"
    assert JID("987", LID_SERVER, 2).signal_address == "987_1:2"


def test_a_stanza_is_made_from_what_is_at_hand() -> None:
    assert MESSAGE.attrs == {"to": JID("15551110001"), "id": "A1", "t": "17"}
    assert MESSAGE.need("body").data == b"hello"


def test_a_path_leads_to_the_first_child_of_each_tag() -> None:
    assert MESSAGE.get("participants", "to") == Node("to", {"n": "1"})
    assert MESSAGE.get("participants", "from", "to") is None
    assert [each.text("n") for each in MESSAGE.need("participants").find("to")] == ["1", "2"]


def test_an_attribute_is_read_as_what_it_is() -> None:
    assert MESSAGE.jid("to") == JID("15551110001")
    assert MESSAGE.text("to") == "15551110001@s.whatsapp.net"
    assert MESSAGE.text("t") == "17"


def test_what_is_missing_is_said_by_name() -> None:
    with pytest.raises(Incomplete, match="<message> has no <participants><from>"):
        MESSAGE.need("participants", "from")
    with pytest.raises(Incomplete, match="attribute from"):
        MESSAGE.text("from")
    with pytest.raises(Incomplete, match="address in id"):
        MESSAGE.jid("id")
    with pytest.raises(Incomplete, match="no bytes"):
        _ = MESSAGE.data


def test_a_stanza_is_shown_as_xml_with_short_texts_only() -> None:
    assert str(MESSAGE) == (
        '<message to="15551110001@s.whatsapp.net" id="A1" t="17">'
        '<participants><to n="1"/><to n="2"/></participants><body>hello</body></message>'
    )
    assert str(Node("enc", {}, bytes(200))) == "<enc>[200 bytes]</enc>"
    assert str(Node("enc", {}, b"\xff")) == "<enc>[1 bytes]</enc>"


def test_a_stanza_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        MESSAGE.tag = "presence"  # type: ignore[misc]  # Just what must not work.
