"""PHONE_CHECK=valid answers as `phonenumbers` does, and mostly without asking it."""

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from whatsapp_worker import phone
from whatsapp_worker.errors import Invalid
from whatsapp_worker.phone import PhoneCheck, parse_phone


def examples(kind: int) -> list[str]:
    """The example number of every region that has one of this kind, in E.164 from 8 digits on."""
    made = (
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    )
    written = (phonenumbers.format_number(each, PhoneNumberFormat.E164) for each in made if each)
    return [each for each in written if len(each) >= 9]


MOBILES = examples(PhoneNumberType.MOBILE)
KINDS = (PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE,
         PhoneNumberType.VOIP, PhoneNumberType.PAGER, PhoneNumberType.UAN)  # fmt: skip
EXAMPLES = [*MOBILES, *(number for kind in KINDS for number in examples(kind))]
DIGITS = "0123456789"


@st.composite
def nearly_numbers(draw: st.DrawFn) -> str:
    """Numbers of every country and kind, and what is a few digits away from them."""
    digits = list(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        digits[draw(st.integers(1, len(digits) - 1))] = draw(st.sampled_from(DIGITS))
    cut = draw(st.integers(max(9, len(digits) - 1), len(digits)))
    return "".join(digits[:cut]) + draw(st.text(DIGITS, max_size=1))


def verdict(number: str) -> str:
    """The number, or what is wrong with it."""
    try:
        return parse_phone(number, PhoneCheck.VALID)
    except Invalid as error:
        return error.detail


def asked(number: str) -> str:
    """The same, `phonenumbers` asked in any case."""
    try:
        parse_phone(number, PhoneCheck.FORMAT)
        phone._ask_phonenumbers(number, PhoneCheck.VALID)
    except Invalid as error:
        return error.detail
    return number


@pytest.mark.parametrize("number", EXAMPLES)
def test_the_example_numbers_of_all_countries_get_the_same_verdict(number: str) -> None:
    assert verdict(number) == asked(number)


@given(nearly_numbers())
@example("+390612345678")  # Keeps its zero.
@example("+5490111561234567")  # Argentina takes prefixes away from the middle.
@example("+447911123456")
@example("+4407911123456")
def test_numbers_that_are_nearly_right_get_the_same_verdict(number: str) -> None:
    assert verdict(number) == asked(number)


def test_phonenumbers_is_not_asked_about_most_mobiles(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    monkeypatch.setattr(phone, "_ask_phonenumbers", lambda number, _: questions.append(number))
    for number in MOBILES:
        parse_phone(number, PhoneCheck.VALID)
    assert len(questions) < 0.4 * len(MOBILES)
