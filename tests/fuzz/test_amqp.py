"""Whatever bytes stand in a content header, the connection lives and the job can be refused."""

import contextlib
import re
import struct
from datetime import datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import base, decode
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from tests.fuzz.drawing import examples, spoilt
from tests.support.poison import BAD, ODD_BUT_READABLE, POISONS, deep, flagged, short, table
from whatsapp_worker import envelope
from whatsapp_worker.amqp import tolerant
from whatsapp_worker.amqp.incoming import Arrival, delivery_of
from whatsapp_worker.delivery import Delivery, Receipt
from whatsapp_worker.envelope import Rules
from whatsapp_worker.errors import ErrorType, Invalid

PROPERTIES = Basic.Properties.attributes()
MOST_ATTEMPTS = 6
KEY = "0123456789abcdef" * 4
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENVELOPE = (
    b'{"user_id": "0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11",'
    b' "text_message": "Hello", "destination": "+15550100999"}'
)


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    tolerant.install()


# What is drawn -----------------------------------------------------------------------------------

TEXTS = st.binary(max_size=12) | st.sampled_from(
    [b"", BAD, "nº 1".encode(), KEY.encode(), PARENT.encode(), b"2", b"x" * 255, b"\xed\xa0\x80"]
)
NAMES = st.sampled_from(
    [b"x-job-key", b"x-attempt", b"x-failed-at", b"traceparent", b"x-death", b"x-delivery-count"]
) | st.binary(max_size=6)


def long(raw: bytes) -> bytes:
    """An AMQP long string, or an array of raw values: both begin with their length."""
    return struct.pack(">I", len(raw)) + raw


def fixed(tag: bytes, size: int) -> st.SearchStrategy[bytes]:
    edges = [
        b"\0" * size,
        b"\xff" * size,
        b"\x7f" + b"\xff" * (size - 1),
        b"\x80" + bytes(size - 1),
    ]
    return st.sampled_from(edges).map(tag.__add__) | st.binary(min_size=size, max_size=size).map(
        tag.__add__
    )


SIMPLE = st.one_of(
    TEXTS.map(lambda raw: b"S" + long(raw)),
    TEXTS.map(lambda raw: b"x" + long(raw)),
    fixed(b"T", 8),
    fixed(b"D", 5),
    st.sampled_from([b"V", b"\0", b"t\1", b"b\xff", b"B\xff", b"Z", b"I\0\0\0\2", b"", b"F"]),
    st.sampled_from([b"s", b"u", b"I", b"i", b"l", b"L", b"f", b"d"]).flatmap(
        lambda tag: fixed(tag, {"s": 2, "u": 2, "l": 8, "L": 8, "d": 8}.get(tag.decode(), 4))
    ),
)


OWN = st.sampled_from(
    [
        short(b"x-job-key") + b"S" + long(KEY.encode()),
        short(b"x-attempt") + b"I" + struct.pack(">i", 2),
        short(b"x-failed-at") + b"S" + long(b"2026-01-02T03:04:05Z"),
        short(b"traceparent") + b"S" + long(PARENT.encode()),
    ]
)
"""Headers of our own copies, as anybody can write them."""


def entries(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    entry = st.builds(lambda name, value: short(name) + value, NAMES, values)
    return st.lists(entry | OWN, max_size=3).map(b"".join)


VALUES = st.recursive(
    SIMPLE,
    lambda inner: (
        entries(inner).map(lambda raw: b"F" + table(raw))
        | st.lists(inner, max_size=3).map(lambda raw: b"A" + long(b"".join(raw)))
    ),
    max_leaves=4,
)
TABLES = entries(VALUES).map(table) | st.sampled_from([deep(5000), deep(450), deep(0)])


def property_of(name: str) -> st.SearchStrategy[bytes]:
    match Basic.Properties.amqp_type(name):
        case "table":
            return TABLES
        case "timestamp":
            return fixed(b"", 8)
        case "octet":
            return fixed(b"", 1)
        case _:
            return TEXTS.map(short)


@st.composite
def property_lists(draw: st.DrawFn) -> bytes:
    """Some properties as they stand on the wire, their flags before them."""
    others = draw(st.lists(st.sampled_from(PROPERTIES), max_size=3))
    names = {"headers", *others} if draw(st.booleans()) else {"message_id", *others}
    return flagged(*((name, draw(property_of(name))) for name in PROPERTIES if name in names))


RAW = st.one_of(
    property_lists(),
    spoilt(property_lists()),
    st.sampled_from([each.raw for each in (*POISONS, *ODD_BUT_READABLE)]),
    spoilt(st.sampled_from([each.raw for each in (*POISONS, *ODD_BUT_READABLE)][:8])),
)


# How it is read ----------------------------------------------------------------------------------


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"


def header(raw: bytes) -> bytes:
    return frame(2, struct.pack(">HxxQ", 60, len(ENVELOPE)) + raw)


def read(raw: bytes) -> Basic.Properties | None:
    """The properties; None if the frame has none, which RabbitMQ would not pass on."""
    try:
        _, _, found = pamqp.frame.unmarshal(header(raw))
    except PAMQPException:
        flags = [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]
        assert len(raw) < 2 or all(each & 1 for each in flags[: len(raw) // 2])
        return None
    assert isinstance(found, ContentHeader)
    return found.properties


def delivered(properties: Basic.Properties, exchange: str) -> Delivery:
    return delivery_of(Arrival(1, False, exchange, properties, ENVELOPE), Receipt(), MOST_ATTEMPTS)


def original(raw: bytes) -> Basic.Properties | None:
    """The properties as pamqp reads them by itself; None if it would end the connection."""
    words = struct.unpack_from(">H", raw)[0]
    properties, ours = Basic.Properties(), decode.METHODS["shortstr"]
    decode.METHODS["shortstr"] = decode.short_str
    try:
        base.BasicProperties.unmarshal(properties, words, raw[2:])
    except Exception:  # noqa: BLE001  Whatever it is, it does not read it.
        return None
    finally:
        decode.METHODS["shortstr"] = ours
    return properties


# What has to hold --------------------------------------------------------------------------------


@examples(400)
@given(RAW, st.sampled_from(["", "", "woragis.notifications"]))
@example(b"", "")
@example(b"\0\1", "")
@example(b"\0\1" * 9, "")
@example(flagged(("headers", table(short(b"x-attempt") + b"I\0\0\0\x07"))), "")
@example(flagged(("headers", table(short(b"x-attempt") + b"I\xff\xff\xff\xff"))), "")
@example(flagged(("headers", deep(480)), ("message_id", short(KEY.encode()))), "")
def test_any_properties_become_a_delivery_and_what_was_repaired_is_no_key(
    raw: bytes, exchange: str
) -> None:
    properties = read(raw)
    if properties is None:
        return
    broken = tolerant.repaired(properties)
    names = ["message_type" if name == "type" else name for name in broken]
    assert set(names) <= set(PROPERTIES)
    assert [properties[name] for name in names] == [
        None if name != "cluster_id" else "" for name in names
    ]
    delivery = delivered(properties, exchange)
    assert delivery.repaired == broken
    check_own_headers(delivery, properties, exchange)
    again = read(raw)
    assert again is not None
    assert delivered(again, exchange).fingerprint == delivery.fingerprint
    if broken:
        with pytest.raises(Invalid) as refusal:
            envelope.decode(delivery, Rules())
        assert refusal.value.error_type is ErrorType.BAD_PROPERTIES
        assert all(name in refusal.value.detail for name in broken)
        assert len(refusal.value.detail) < 1024


def check_own_headers(delivery: Delivery, properties: Basic.Properties, exchange: str) -> None:
    headers: dict[str, Any] = properties.headers or {}
    assert delivery.message_id == (properties.message_id or None)
    assert re.fullmatch("[0-9a-f]{32}", delivery.trace_id)
    assert 0 <= delivery.attempt <= MOST_ATTEMPTS
    believed = (delivery.job_key, delivery.attempt, delivery.replay)
    if exchange or "headers" in delivery.repaired:
        assert believed == (None, 0, False)
    else:
        assert delivery.job_key in (None, headers.get("x-job-key"))
        assert delivery.replay == ("x-failed-at" in headers)
        assert delivery.attempt in (0, headers.get("x-attempt"))


@examples(200)
@given(RAW)
@example(b"")
@example(b"\0\1")
@example(b"\0\1" * 9)
def test_a_delivery_s_properties_are_read_off_the_wire_as_pamqp_would_read_the_frame(
    raw: bytes,
) -> None:
    ours, theirs = tolerant.read(raw), read(raw)
    if theirs is not None:
        assert [repr(ours[name]) for name in PROPERTIES] == [
            repr(theirs[name]) for name in PROPERTIES
        ]
        assert tolerant.repaired(ours) == tolerant.repaired(theirs)


@examples(200)
@given(RAW)
def test_what_pamqp_reads_by_itself_is_read_the_same(raw: bytes) -> None:
    ours = read(raw)
    if ours is None or int.from_bytes(raw[:2], "big") & 1:
        return
    theirs = original(raw)
    # Where a text in a table reaches out of it, pamqp takes it from the property that follows.
    names = set(PROPERTIES) - {"headers"}
    if theirs is None:
        assert tolerant.repaired(ours)
    else:
        assert set(tolerant.repaired(ours)) <= {"headers"}
        assert [repr(ours[name]) for name in names] == [repr(theirs[name]) for name in names]


TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1))  # noqa: DTZ001  As pamqp has them.
WRITTEN = st.recursive(
    st.one_of(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
        st.binary(max_size=8).map(bytearray),
        TIMES,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@examples(100)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "headers": st.dictionaries(st.text(max_size=8), WRITTEN, max_size=3),
            "message_id": st.text(max_size=60),
            "content_type": st.text(max_size=60),
            "priority": st.integers(0, 255),
            "delivery_mode": st.sampled_from([1, 2]),
            "timestamp": TIMES,
        },
    )
)
def test_what_pamqp_writes_is_read_as_pamqp_reads_it(given: dict[str, Any]) -> None:
    raw = Basic.Properties(**given).marshal()
    ours, theirs = read(raw), original(raw)
    assert ours is not None
    assert tolerant.repaired(ours) == ()
    assert theirs is not None
    assert [repr(ours[name]) for name in PROPERTIES] == [repr(theirs[name]) for name in PROPERTIES]


@examples(100)
@given(st.binary(max_size=40), st.sampled_from([0, *range(4, 60)]), st.sampled_from([60, 50]))
@example(b"", 0, 60)
@example(struct.pack(">HH", 60, 60) + b"\x01c" + b"\0" * 9 + b"\x00", 0, 60)
def test_a_frame_is_read_or_ends_the_connection_in_the_way_it_should(
    raw: bytes, cut: int, method: int
) -> None:
    """A publisher chooses the routing key of `Basic.Deliver`; aiormq expects one exception."""
    whole = pamqp.frame.marshal(Basic.Deliver("tag", 1, False, "exchange", "k" * 20), 1)[7:-1]
    damaged = whole[:cut] + raw if cut else struct.pack(">HH", 60, method) + raw
    for payload, kind in ((damaged, 1), (raw, 2)):
        if not payload:
            continue
        with contextlib.suppress(PAMQPException):
            pamqp.frame.unmarshal(frame(kind, payload))
