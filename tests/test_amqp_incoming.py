from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from whatsapp_worker.amqp.incoming import Arrival, delivery_of, trace_id, trace_parent
from whatsapp_worker.delivery import Delivery, Receipt

KEY = "0123456789abcdef" * 4
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def message(
    body: bytes = b"{}", exchange: str = "", redelivered: bool = False, **properties: Any
) -> Arrival:
    return Arrival(1, redelivered, exchange, Basic.Properties(**properties), body)


def read(*args: Any, **properties: Any) -> Delivery:
    return delivery_of(message(*args, **properties), Receipt(), max_attempts=6)


def test_reads_what_a_publisher_sent() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    delivery = read(
        b"body",
        "woragis.notifications",
        True,
        message_id="m1",
        content_type="application/json",
        content_encoding="utf-8",
        timestamp=when,
        headers={"traceparent": PARENT},
    )
    assert delivery == Delivery(
        body=b"body",
        message_id="m1",
        content_type="application/json",
        content_encoding="utf-8",
        timestamp=when,
        redelivered=True,
        trace_id=TRACE,
        trace_parent=PARENT,
    )


def test_an_absent_and_an_empty_property_are_the_same() -> None:
    delivery = read(message_id="", content_type="", content_encoding="")
    assert delivery.message_id is delivery.content_type is delivery.content_encoding is None
    assert delivery.timestamp is None


def test_our_own_headers_are_believed_on_the_default_exchange() -> None:
    headers = {"x-job-key": KEY, "x-attempt": 6, "x-failed-at": "2026-01-01T00:00:00Z"}
    delivery = read(headers=headers)
    assert (delivery.job_key, delivery.attempt, delivery.replay) == (KEY, 6, True)


def test_nobody_can_forge_them_through_a_named_exchange() -> None:
    headers = {"x-job-key": KEY, "x-attempt": 2, "x-failed-at": "2026-01-01T00:00:00Z"}
    delivery = read(exchange="woragis.notifications", headers=headers)
    assert (delivery.job_key, delivery.attempt, delivery.replay) == (None, 0, False)


@pytest.mark.parametrize("attempt", [-1, 7, True, "2", 2.0, None, b"2", [2]])
def test_an_attempt_that_can_not_be_is_none_at_all(attempt: object) -> None:
    assert read(headers={"x-attempt": attempt}).attempt == 0


@pytest.mark.parametrize("key", [KEY[1:], KEY + "0", KEY.upper(), KEY.encode(), 1, None, "x" * 64])
def test_a_key_that_is_not_ours_is_ignored(key: object) -> None:
    assert read(headers={"x-job-key": key}).job_key is None


@pytest.mark.parametrize("parent", [PARENT, PARENT.encode(), bytearray(PARENT.encode())])
def test_a_trace_is_continued(parent: object) -> None:
    assert trace_id(parent) == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        None,
        1,
        "",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "\n",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        b"\xff" * 55,
    ],
)
def test_a_bad_trace_is_replaced_by_a_new_one(parent: object) -> None:
    assert trace_parent(parent) is None
    first, second = (read(headers={"traceparent": parent}).trace_id for _ in range(2))
    assert len(first) == len(second) == 32
    assert first != second


def test_a_redelivery_has_the_same_fingerprint() -> None:
    first = read(b"x", "e", False, headers={"a": 1})
    again = read(b"x", "e", True, headers={"x-delivery-count": 3, "x-death": [{}], "a": 1})
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        read(b"y", headers={"a": 1}),
        read(b"x", headers={"a": 2}),
        read(b"x"),
        read(b"x", headers={"a": 1}, app_id="other"),
    ],
    ids=["body", "header", "no headers", "property"],
)
def test_another_message_has_another_fingerprint(other: Delivery) -> None:
    assert read(b"x", headers={"a": 1}).fingerprint != other.fingerprint


@pytest.mark.parametrize("name", [{"message_id": "m"}, {"headers": {"x-job-key": KEY}}])
def test_a_message_that_has_a_name_needs_no_fingerprint(name: dict[str, Any]) -> None:
    assert read(b"x", **name).fingerprint == b""


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.text() | st.sampled_from(["x-job-key", "x-attempt", "x-failed-at", "traceparent"]),
        values,
    ),
    values,
)
def test_reading_never_raises(headers: dict[str, Any], odd: object) -> None:
    poisoned = message(headers=headers)
    poisoned.properties.timestamp = odd  # type: ignore[assignment]  # That is the point.
    delivery = delivery_of(poisoned, Receipt(), max_attempts=6)
    assert 0 <= delivery.attempt <= 6
    assert len(delivery.trace_id) == 32
    assert delivery.timestamp is None


def test_headers_that_are_no_table_are_no_headers() -> None:
    poisoned = message()
    poisoned.properties.headers = [1]  # type: ignore[assignment]  # That is the point.
    assert delivery_of(poisoned, Receipt(), max_attempts=6).attempt == 0
