"""From any bytes to an envelope or to a reason; nothing else."""

import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import MAX_KEY_LENGTH, Rules, WhatsAppEnvelope, decode
from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.phone import PhoneCheck

USER = "123e4567-e89b-12d3-a456-426614174000"
GOOD = {"user_id": USER, "text_message": "Hello", "destination": "+55 (11) 99999-9999"}


def body(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def read(raw: bytes, rules: Rules | None = None, **properties: object) -> WhatsAppEnvelope:
    delivery = replace(Delivery(raw), **properties)  # type: ignore[arg-type]  # field by field
    return decode(delivery, rules or Rules())


def refused(raw: bytes, rules: Rules | None = None, **properties: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(raw, rules, **properties)
    return caught.value


def test_reads_an_envelope_and_cleans_the_number() -> None:
    envelope = read(body())
    assert envelope.user_id == UUID(USER)
    assert envelope.text_message == "Hello"
    assert envelope.destination == "+5511999999999"
    assert envelope.idempotency_key is None


def test_ignores_fields_it_does_not_know() -> None:
    assert read(body(priority=7, nested={"a": [1, None]})).text_message == "Hello"


def test_printing_an_envelope_shows_neither_text_nor_number_nor_key() -> None:
    shown = repr(read(body(idempotency_key="order-1")))
    assert not any(secret in shown for secret in ("Hello", "5511", "order-1"))


def test_reads_a_byte_order_mark_that_windows_tools_write() -> None:
    assert read(b"\xef\xbb\xbf" + body()).text_message == "Hello"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (json.dumps(GOOD).encode("utf-16"), "not UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"user_id": "a", "user_id": "b"}', "twice"),
        (b'{"x": {"a": 1, "a": 2}}', "twice"),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
    ],
)
def test_refuses_what_is_not_json(raw: bytes, problem: str) -> None:
    error = refused(raw)
    assert error.error_type is ErrorType.MALFORMED
    assert problem in error.detail
    assert "publish one JSON object" in error.detail


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_refuses_json_that_is_no_object(raw: bytes) -> None:
    assert refused(raw).error_type is ErrorType.INVALID_SCHEMA


@pytest.mark.parametrize("field", ["user_id", "text_message", "destination"])
@pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}, True])
def test_names_the_field_that_has_the_wrong_type(field: str, value: object) -> None:
    error = refused(body(**{field: value}))
    assert error.error_type is ErrorType.INVALID_SCHEMA
    assert error.detail.startswith(f"{field} has to be")


@pytest.mark.parametrize("field", ["user_id", "text_message", "destination"])
def test_names_the_field_that_is_missing(field: str) -> None:
    error = refused(json.dumps({k: v for k, v in GOOD.items() if k != field}).encode())
    assert (error.error_type, error.detail) == (ErrorType.INVALID_SCHEMA, f"{field} is missing")


def test_names_every_field_that_is_wrong() -> None:
    assert refused(b"{}").detail.count("is missing") == 3


@pytest.mark.parametrize(
    "user_id", ["", "x", USER.replace("-", ""), "{" + USER + "}", "urn:uuid:" + USER, USER + "0"]
)
def test_accepts_only_the_hyphenated_form_of_a_uuid(user_id: str) -> None:
    assert refused(body(user_id=user_id)).error_type is ErrorType.INVALID_SCHEMA
    assert read(body(user_id=USER.upper())).user_id == UUID(USER)


def test_takes_an_idempotency_key_of_reasonable_length() -> None:
    assert read(body(idempotency_key="order-1")).idempotency_key == "order-1"
    assert read(body(idempotency_key=None)).idempotency_key is None
    for bad in ("", "k" * (MAX_KEY_LENGTH + 1), 7, "\ud800"):
        error = refused(body(idempotency_key=bad))
        assert error.detail.startswith("idempotency_key has to be")


def test_applies_the_rules_it_was_given() -> None:
    attack = body(text_message="<script>alert(1)</script>")
    assert refused(attack).error_type is ErrorType.CONTENT_POLICY
    assert read(attack, Rules(content_policy=ContentPolicy.OFF)).text_message
    unreal = body(destination="+1234567890")
    assert read(unreal).text_message
    assert (
        refused(unreal, Rules(phone_check=PhoneCheck.VALID)).error_type is ErrorType.INVALID_PHONE
    )


@pytest.mark.parametrize("text", ["", "   ", "a\x00b", "\ud83d", "x" * 4097])
def test_refuses_texts_nobody_can_read(text: str) -> None:
    assert refused(body(text_message=text)).error_type is ErrorType.INVALID_TEXT


def test_refuses_a_body_that_is_too_large() -> None:
    raw = body(padding="x" * 2000)
    error = refused(raw, Rules(max_message_bytes=1000))
    assert error.error_type is ErrorType.TOO_LARGE
    assert "MAX_MESSAGE_BYTES" in error.detail
    assert read(raw, Rules(max_message_bytes=len(raw))).text_message


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.woragis.v1+json",
        "application/cloudevents+json",
        "text/json",
        "text/plain",
        "application/octet-stream",
    ],
)
def test_accepts_the_content_types_that_publishers_set(content_type: str | None) -> None:
    assert read(body(), content_type=content_type).text_message


@pytest.mark.parametrize(
    "content_type", ["application/xml", "application/gzip", "json", "image/png"]
)
def test_refuses_other_content_types(content_type: str) -> None:
    assert refused(body(), content_type=content_type).error_type is ErrorType.UNSUPPORTED_CONTENT


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "UTF-8", "identity"])
def test_accepts_plain_content_encodings(encoding: str | None) -> None:
    assert read(body(), content_encoding=encoding).text_message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "latin-1"])
def test_refuses_other_content_encodings(encoding: str) -> None:
    error = refused(body(), content_encoding=encoding)
    assert error.error_type is ErrorType.UNSUPPORTED_CONTENT


def test_refuses_a_message_whose_properties_had_to_be_repaired() -> None:
    error = refused(body(), repaired=("message_id", "headers"))
    assert error.error_type is ErrorType.BAD_PROPERTIES
    assert "message_id, headers" in error.detail


def test_equal_messages_have_equal_canonical_content() -> None:
    compact = json.dumps(GOOD, separators=(",", ":")).encode()
    other = body(destination="+5511999999999", ignored=1, user_id=USER.upper())
    assert read(compact).canonical() == read(other).canonical()
    assert read(compact).canonical() != read(body(text_message="hello")).canonical()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "user_id": JSON | st.just(USER),
            "text_message": JSON | st.text(),
            "destination": JSON | st.just("+5511999999999"),
            "idempotency_key": JSON,
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(ContentPolicy),
    st.sampled_from(PhoneCheck),
)
def test_any_bytes_become_an_envelope_or_an_invalid(
    raw: bytes, content_policy: ContentPolicy, phone_check: PhoneCheck
) -> None:
    rules = Rules(phone_check=phone_check, content_policy=content_policy)
    try:
        envelope = decode(Delivery(raw), rules)
    except Invalid as error:
        assert error.detail  # noqa: PT017  Both ends are right; this is the one with a reason.
    else:
        said = [str(envelope.user_id), envelope.destination, envelope.text_message]
        assert envelope.canonical() == json.dumps(said).encode()
        assert envelope.destination.startswith("+")
