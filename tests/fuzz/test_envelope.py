"""Any delivery becomes an envelope that keeps every rule of the contract, or a reason."""

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import phonenumbers
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.drawing import examples, spoilt
from tests.support.privacy import TOKEN, leaks
from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import Rules, WhatsAppEnvelope, decode
from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.phone import PhoneCheck

USER = "0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11"
TEXT = f"{TOKEN}0123abcd is what nobody may read"
NUMBER = "+15550100999"
ATTACK = "<script>alert(1)</script>"

REASONS = {
    ErrorType.BAD_PROPERTIES,
    ErrorType.TOO_LARGE,
    ErrorType.UNSUPPORTED_CONTENT,
    ErrorType.MALFORMED,
    ErrorType.INVALID_SCHEMA,
    ErrorType.INVALID_PHONE,
    ErrorType.INVALID_TEXT,
    ErrorType.CONTENT_POLICY,
}
"""All that may be wrong with a message before anybody has tried to send it."""

LONGEST_DETAIL = 1024  # DESIGN 4: `x-error-detail`.


# What is drawn -----------------------------------------------------------------------------------

ODD = st.sampled_from(
    [
        *("null", "true", "[]", "{}", '""', "-0", "0.1e-5", "1e400", "-1e400", '"\\u0000"'),
        *("NaN", "Infinity", "-Infinity", "nan", "01", "+1", "'x'", "9" * 4300, "9" * 4301),
        *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\\u12"', '"\x01"'),
        *('{"a":1,"a":2}', '[{"a":{"b":1,"b":1}}]', '{"":0,"":0}', "[1,]", '{"a"}', "/**/1"),
        *("[" * 900 + "]" * 900, "[" * 30_000, '{"a":' * 9000 + "1" + "}" * 9000),
        '"' + "é" * 35_000 + '"',
    ]
)
NEAR = {
    "user_id": [USER.upper(), f"{{{USER}}}", f"{USER}\n", USER[:-1], USER.replace("-", "")],
    "destination": [
        *("+1 (555) 010-0999", "+44 (0)20 79460000", "+1555010099\u0669", "15550100999"),
        *("+999 5550100999", "+1555010\u00ad0999\r\n", "++15550100999", "+1555", "+15550100999x"),
        *("(+1)5550100999", "+39 06 69812345", "+1" + " " * 70 + "5550100999"),
    ],
    "text_message": [
        *("x" * 4096, "x" * 4097, "\u202e abc", "\u200b\u200e", "a\r\nb", "a\rb", "\u2066a\u2069"),
        *(
            ATTACK,
            "it's #1",
            "a\x7f",
            "a\x85",
            "\ud800",
            "a\udc00",
            "\U0001f600" * 4096,
            " \n",
            "a\x00",
        ),
    ],
    "idempotency_key": ["k", "k" * 255, "k" * 256, "\ud800", "é" * 255, "\x00", ""],
}
"""Values that are right, or would be but for one thing."""


def value_of(name: str) -> st.SearchStrategy[str]:
    near = NEAR.get(name, [f"{TOKEN}0000", NUMBER])
    likely = st.sampled_from(near).map(json.dumps)
    return st.one_of(likely, likely, ODD, JSON)


JSON = st.builds(
    str.replace,
    st.sampled_from(["x", "[x, 1]", '{"a": {"b": [x]}}', '[{"": x}]']),
    st.just("x"),
    (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)).map(
        json.dumps
    ),
)
PLAIN = {"user_id": USER, "text_message": TEXT, "destination": NUMBER}
GOOD = {
    "user_id": json.dumps(USER),
    "text_message": json.dumps(TEXT),
    "destination": json.dumps(NUMBER),
    "idempotency_key": json.dumps(f"{TOKEN}feed"),
}
FORMS = st.sampled_from(
    [(blank, "", "", "utf-8") for blank in ("", " ", "\n\t", "\r\n") * 4]
    + [("", "", "", codec) for codec in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7")]
    + [(blank, "", "", "utf-8") for blank in ("\ufeff", "\u00a0")]
    + [("", "[", "]", "utf-8"), ("", "", "{}", "utf-8"), ("", "\ufeff", "", "utf-8")]
)
"""Blanks, what stands before and after, and the encoding: most often one that can be read."""


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Write a good envelope of which some fields were replaced, left out, repeated or added."""
    fields = list(GOOD.items())
    for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2, 3]))):
        name = draw(st.sampled_from([*GOOD, "text_message", "unknown", "", "User_Id"]))
        value = draw(value_of(name))
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat", "first"]))
        if how != "repeat":
            fields = [field for field in fields if field[0] != name]
        if how != "remove":
            fields.insert(0 if how == "first" else len(fields), (name, value))
    blank, before, after, codec = draw(FORMS)
    pairs = f",{blank}".join(f"{json.dumps(name)}:{blank}{value}" for name, value in fields)
    text = f"{before}{{{pairs}}}{after}"
    return text.encode(codec, "surrogatepass")


def optional(*usual: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(usual) | st.text(max_size=40)


KINDS = st.sampled_from([bodies()] * 6 + [spoilt(bodies()), st.binary(max_size=99)])


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Draw a body, with properties that matter to its reading."""
    good = draw(st.sampled_from([True] * 7 + [False]))  # Else most would be refused unread.
    return Delivery(
        draw(draw(KINDS)),
        message_id=draw(st.sampled_from([None, NUMBER])),
        content_type="application/json"
        if good
        else draw(
            optional(
                *("application/json; charset=utf-8", "text/json", "TEXT/PLAIN", "text/html"),
                *("application/vnd.acme+json", "application/octet-stream", "application/json;\n"),
                *("application/jsonp", "xapplication/json", f"{NUMBER}", f"{TOKEN}0000"),
            )
        ),
        content_encoding=None if good else draw(optional("UTF-8", "utf8 ", "identity", "gzip")),
        repaired=()
        if good
        else draw(st.sampled_from([(), (), ("headers",), ("message_id", "type")])),
    )


RULES = st.builds(
    Rules,
    max_message_bytes=st.sampled_from([65536, 65536, 65536, 16 * 1024 * 1024, 256]),
    phone_check=st.sampled_from(PhoneCheck),
    content_policy=st.sampled_from(ContentPolicy),
)


# What has to hold --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twice:
    """Stands in JSON for an object of which a name came twice."""


def verdict(delivery: Delivery, rules: Rules) -> WhatsAppEnvelope | tuple[ErrorType, str]:
    """What decode says; anything it may not raise goes on to the test."""
    try:
        return decode(delivery, rules)
    except Invalid as error:
        return error.error_type, error.detail


def check_refusal(error_type: ErrorType, detail: str) -> None:
    assert error_type in REASONS
    assert 0 < len(detail.encode()) <= LONGEST_DETAIL
    assert detail.isprintable()
    assert leaks(detail) == {}
    assert "5550100" not in detail


def check_transport(delivery: Delivery, rules: Rules) -> None:
    assert not delivery.repaired
    assert len(delivery.body) <= rules.max_message_bytes
    kind = (delivery.content_type or "").split(";")[0].strip().lower()
    major, _, minor = kind.partition("/")
    assert (
        kind in {"", "text/plain", "text/json", "application/octet-stream"}
        or (major == "application" and minor.split("+")[-1] == "json")
    )  # fmt: skip
    encoding = (delivery.content_encoding or "").strip().lower()
    assert encoding in {"", "utf-8", "utf8", "identity"}


def check_text(text: str, rules: Rules) -> None:
    assert 1 <= len(text) <= 4096
    for number, letter in enumerate(text):
        control = unicodedata.category(letter) in {"Cc", "Cs"} or "\u202a" <= letter <= "\u202e"
        assert not control or letter in "\n\t" or text[number : number + 2] == "\r\n"
    assert any(unicodedata.category(letter)[0] not in "ZC" or letter > "\uffff" for letter in text)
    if rules.content_policy is not ContentPolicy.OFF:
        assert "<script>" not in text.lower()
    if rules.content_policy is ContentPolicy.STRICT:
        assert not set(text) & set("'#;|*")


def check_number(number: str, written: str, rules: Rules) -> None:
    assert re.fullmatch(r"\+[0-9]{8,15}", number)
    kept = "".join(letter for letter in written if letter in "+0123456789")
    removed = set(written) - set("+0123456789")
    assert number == kept
    assert all(each in ".()\t\r\n\u2212\u00ad" or unicodedata.category(each) in {"Zs", "Pd"}
               for each in removed)  # fmt: skip
    parsed = phonenumbers.parse(number)
    assert phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    if rules.phone_check is not PhoneCheck.FORMAT:
        assert phonenumbers.is_possible_number(parsed)
    if rules.phone_check is PhoneCheck.VALID:
        assert phonenumbers.is_valid_number(parsed)


def as_written(body: bytes) -> dict[str, Any]:
    """What the JSON says to a reader that sees every name and every odd constant."""

    def pairs(found: list[tuple[str, Any]]) -> Any:
        names = [name for name, _ in found]
        return dict(found) if len(set(names)) == len(names) else Twice()

    def values(of: Any) -> list[Any]:
        waiting, seen = [of], []
        while waiting:
            seen.append(each := waiting.pop())
            waiting += each.values() if isinstance(each, dict) else []
            waiting += each if isinstance(each, list) else []
        return seen

    text = body.decode("utf-8").removeprefix("\ufeff")
    whole = json.loads(text, object_pairs_hook=pairs, parse_constant=lambda _: Twice())
    assert isinstance(whole, dict)
    assert not any(isinstance(each, Twice) for each in values(whole))
    return whole


def check_envelope(envelope: WhatsAppEnvelope, delivery: Delivery, rules: Rules) -> None:
    check_transport(delivery, rules)
    written = as_written(delivery.body)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", written["user_id"].lower())
    assert str(envelope.user_id) == written["user_id"].lower()
    assert envelope.text_message == written["text_message"]
    assert envelope.idempotency_key == written.get("idempotency_key")
    key = envelope.idempotency_key
    assert key is None or (1 <= len(key) <= 255 and key.encode())
    check_text(envelope.text_message, rules)
    check_number(envelope.destination, written["destination"], rules)
    assert leaks(f"{envelope!r} {envelope}") == {}


@examples(400)
@given(deliveries(), RULES)
@example(Delivery(b"[" * 60_000), Rules())
@example(Delivery(b'{"a":' * 10_000), Rules())
@example(Delivery(b'"' + b"x" * 70_000 + b'"'), Rules())
@example(Delivery(b"\xef\xbb\xbf"), Rules())
@example(Delivery(json.dumps({**PLAIN, "text_message": "a\udc00"}).encode()), Rules())
@example(Delivery(json.dumps({**PLAIN, "idempotency_key": "\ud800"}).encode()), Rules())
@example(Delivery(b'{"destination": "+155501009990", "text_message": ""}'), Rules())
def test_any_delivery_becomes_an_envelope_that_keeps_the_rules_or_a_reason(
    delivery: Delivery, rules: Rules
) -> None:
    said = verdict(delivery, rules)
    assert verdict(delivery, rules) == said
    if isinstance(said, tuple):
        check_refusal(*said)
    else:
        check_envelope(said, delivery, rules)
        again = verdict(Delivery(said.model_dump_json().encode()), rules)
        assert again == said
        assert said.canonical() == again.canonical()


# What is good stays good -------------------------------------------------------------------------

LETTERS = st.characters(
    codec="utf-8",
    exclude_categories=["Cc", "Cs"],
    exclude_characters="\u202a\u202b\u202c\u202d\u202e",
)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[str, str]:
    """A number as it is sent, and as somebody wrote it."""
    code = str(draw(st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))))
    rest = draw(st.from_regex(rf"\A[0-9]{{{8 - len(code)},{15 - len(code)}}}\Z"))
    blank = draw(st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011", "  "]))
    area = f" ({rest[6:]}) " if rest[6:] not in {"", "0"} else rest[6:]
    return f"+{code}{rest}", f" +{code}{blank}{blank.join(rest[:6])}{area}"


@examples(100)
@given(
    user=st.uuids(),
    text=st.tuples(st.text(LETTERS, max_size=60), st.sampled_from(["", "\n", "\t", "\r\n"])),
    number=numbers(),
    key=st.none() | st.text(LETTERS, min_size=1, max_size=255),
    more=st.sampled_from([{}, {"": [{}]}, {"Text_message": {"a": [None]}}, {"z": "\ud800"}]),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
    mark=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_a_good_message_is_read_however_it_is_written(
    user: Any,
    text: tuple[str, str],
    number: tuple[str, str],
    key: str | None,
    more: dict[str, Any],
    ascii_only: bool,
    indent: int | None,
    mark: str,
) -> None:
    sent, written = number
    whole = f"A{''.join(text)}"
    fields = {"user_id": str(user), "text_message": whole, "destination": written}
    body = json.dumps(
        {**more, **fields, "idempotency_key": key},
        ensure_ascii=ascii_only or "z" in more,
        indent=indent,
    ).encode(mark)
    envelope = decode(Delivery(body), Rules(content_policy=ContentPolicy.OFF))
    assert (envelope.user_id, envelope.text_message) == (user, whole)
    assert (envelope.destination, envelope.idempotency_key) == (sent, key)
