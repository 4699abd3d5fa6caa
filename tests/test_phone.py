"""Destinations: what is cleaned, what is refused, and that no refusal repeats the number."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.phone import PhoneCheck, parse_phone

BRAZIL = "+5511999999999"


def refusal(text: str, check: PhoneCheck = PhoneCheck.FORMAT) -> str:
    with pytest.raises(Invalid) as caught:
        parse_phone(text, check)
    assert caught.value.error_type is ErrorType.INVALID_PHONE
    assert caught.value.detail.startswith("destination ")
    return caught.value.detail


def verdict(text: str, check: PhoneCheck) -> str | Invalid:
    try:
        return parse_phone(text, check)
    except Invalid as error:
        return error


@pytest.mark.parametrize("number", [BRAZIL, "+1234567890", "+12345678", "+123456789012345"])
def test_takes_the_seeds_examples_and_lengths_from_8_to_15_as_they_are(number: str) -> None:
    assert parse_phone(number, PhoneCheck.FORMAT) == number


@pytest.mark.parametrize(
    "written",
    [
        "+55 (11) 99999-9999",
        "+55.11.99999.9999",
        " +55 11 99999 9999\n",
        "\t+5511999999999\r\n",
        "+55\u00a011\u202f99999\u20119999",
        "+55 11 99999\u20139999",
        "+55 11 99999\u22129999",
        "(+55) 11-9-9999-9999",
    ],
)
def test_cleans_the_separators_people_and_programs_write(written: str) -> None:
    assert parse_phone(written, PhoneCheck.FORMAT) == BRAZIL


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "does not start with +"),
        ("5511999999999", "does not start with +"),
        ("005511999999999", "does not start with +"),
        ("\uff0b5511999999999", "does not start with +"),
        ("+", "only digits"),
        ("++5511999999999", "only digits"),
        ("+5511999999999x12", "only digits"),
        ("+55119999/9999", "only digits"),
        ("+\u0665\u0665\u0661\u0661\u0669\u0669\u0669\u0669\u0669", "only digits"),
        ("+55119999\u00b2", "only digits"),
        ("+5511999\ud800", "only digits"),
        ("+1234567", "8 to 15 digits"),
        ("+1234567890123456", "8 to 15 digits"),
        ("+0012345678", "calling code"),
        ("+21012345678", "calling code"),
        ("+99912345678", "calling code"),
        ("+44 (0)20 7946 0958", '"(0)"'),
        ("+44 ( 0 ) 20 7946 0958", '"(0)"'),
        ("+" + "1" * 64, "too long"),
        ("+55" + " " * 100_000, "too long"),
    ],
)
def test_refuses_what_is_no_international_number_and_says_which_rule(text: str, rule: str) -> None:
    assert rule in refusal(text)


@pytest.mark.parametrize("check", list(PhoneCheck))
def test_takes_a_real_mobile_number_under_every_check(check: PhoneCheck) -> None:
    assert parse_phone(BRAZIL, check) == BRAZIL


@pytest.mark.parametrize("check", [PhoneCheck.POSSIBLE, PhoneCheck.VALID])
@pytest.mark.parametrize(
    ("number", "rule"),
    [
        ("+1234567890", "length"),  # Nine digits: the seed's example is no full US number.
        ("+12345678", "length"),  # Seven: reaches its own town only.
        ("+4402079460958", "national prefix"),
    ],
)
def test_asks_phonenumbers_for_the_length_when_told_to(
    number: str, rule: str, check: PhoneCheck
) -> None:
    assert parse_phone(number, PhoneCheck.FORMAT) == number
    assert rule in refusal(number, check)


def test_asks_phonenumbers_for_the_number_range_under_valid_only() -> None:
    assert parse_phone("+5500000000", PhoneCheck.POSSIBLE) == "+5500000000"
    assert "number range" in refusal("+5500000000", PhoneCheck.VALID)


def test_takes_the_example_mobile_number_of_every_region_under_every_check() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is None:  # Regions without mobile numbers of their own.
            continue
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        if len(number) > len("+1234567"):
            assert parse_phone(number, PhoneCheck.VALID) == number


@given(st.text(), st.sampled_from(PhoneCheck))
def test_returns_a_number_or_raises_invalid_for_any_text(text: str, check: PhoneCheck) -> None:
    result = verdict(text, check)
    assert isinstance(result, Invalid) or parse_phone(result, check) == result


@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)),
    st.text("0123456789", min_size=5, max_size=14),
    st.sampled_from(PhoneCheck),
)
def test_sends_what_it_checked_and_no_refusal_repeats_the_digits(
    calling_code: int, national: str, check: PhoneCheck
) -> None:
    number = f"+{calling_code}{national}"
    result = verdict(number, check)
    assert result == number or isinstance(result, Invalid)
    assert result == number or national not in str(result)


@given(st.text("+0123456789 -.()/x", max_size=70))
def test_no_refusal_repeats_six_characters_of_the_destination(text: str) -> None:
    result = verdict(text, PhoneCheck.VALID)
    pieces = {text[start : start + 6] for start in range(len(text) - 5)}
    assert isinstance(result, str) or not any(piece in str(result) for piece in pieces)
