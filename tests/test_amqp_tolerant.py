import struct
from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.exceptions import UnmarshalingException
from pamqp.header import ContentHeader

from tests.support.poison import (
    NUMBER,
    ODD_BUT_READABLE,
    POISONS,
    Poison,
    RawProperties,
    flagged,
    short,
    table,
)
from whatsapp_worker.amqp import tolerant


@pytest.fixture(autouse=True)
def _installed() -> None:
    tolerant.install()
    tolerant.install()  # Doing it again changes nothing.


def read(raw: bytes) -> Basic.Properties:
    header = ContentHeader(body_size=1, properties=RawProperties(raw))
    _, _, frame = pamqp.frame.unmarshal(pamqp.frame.marshal(header, 1))
    assert isinstance(frame, ContentHeader)
    return frame.properties


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)
def test_what_can_not_be_read_is_absent_and_named(poison: Poison) -> None:
    properties = read(poison.raw)
    assert tolerant.repaired(properties) == poison.broken
    for name in poison.broken:
        assert properties["message_type" if name == "type" else name] is None


@pytest.mark.parametrize("odd", ODD_BUT_READABLE, ids=lambda odd: odd.name)
def test_what_is_only_odd_is_not_repaired(odd: Poison) -> None:
    assert tolerant.repaired(read(odd.raw)) == ()


def test_good_properties_beside_a_bad_one_are_read() -> None:
    properties = read(
        flagged(
            ("content_type", short(b"application/json")),
            ("headers", table(short(b"\xff"))),
            ("delivery_mode", b"\x02"),
            ("message_id", short("nº 1".encode())),
            ("timestamp", struct.pack(">Q", 1_700_000_000)),
        )
    )
    assert tolerant.repaired(properties) == ("headers",)
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.message_id == "nº 1"
    assert properties.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_time_in_milliseconds_is_understood() -> None:
    when = read(flagged(("timestamp", struct.pack(">Q", 1_700_000_000_000)))).timestamp
    assert when == datetime.fromtimestamp(1_700_000_000, UTC)


def test_headers_are_read_as_ever() -> None:
    assert read(flagged(("headers", table(NUMBER)))).headers == {"n": 7}


def test_properties_that_never_came_from_the_wire_need_no_repair() -> None:
    assert tolerant.repaired(Basic.Properties(message_id="x")) == ()


def test_a_routing_key_that_is_not_text_does_not_end_the_connection() -> None:
    deliver = Basic.Deliver("tag", 1, False, "exchange", "key")
    raw = pamqp.frame.marshal(deliver, 1).replace(b"\x03key", b"\x03k\xff\xfe")
    _, _, frame = pamqp.frame.unmarshal(raw)
    assert isinstance(frame, Basic.Deliver)
    assert frame.exchange == "exchange"
    assert frame.routing_key == r"k\xff\xfe"


def test_a_method_frame_that_ends_too_soon_ends_the_connection_as_any_bad_frame() -> None:
    raw = struct.pack(">BHIHH", 1, 1, 4, 60, 60) + b"\xce"  # Basic.Deliver, and nothing more.
    with pytest.raises(UnmarshalingException):
        pamqp.frame.unmarshal(raw)


@given(st.binary(max_size=300), st.integers(0, 0xFFFC))
def test_no_bytes_whatsoever_raise(data: bytes, flags: int) -> None:
    raw = struct.pack(">H", flags & 0xFFFC) + data
    assert isinstance(tolerant.repaired(read(raw)), tuple)


@given(st.binary(max_size=300))
def test_no_header_table_whatsoever_raises(entries: bytes) -> None:
    properties = read(flagged(("headers", table(entries)), ("message_id", short(b"after"))))
    assert properties.message_id == "after"
    assert tolerant.repaired(properties) in {(), ("headers",)}
