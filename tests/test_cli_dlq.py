"""Choosing dead letters, and showing them without telling secrets."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from whatsapp_worker.amqp.dead_letters import Entry
from whatsapp_worker.cli import letters
from whatsapp_worker.cli.selection import Selection, age, reason

KEY = "6f1c9a52" * 8
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TEXT, NUMBER = "the secret text", "+5511987654321"
BODY = json.dumps({"user_id": "u" * 36, "text_message": TEXT, "destination": NUMBER}).encode()


def entry(position: int = 0, **facts: Any) -> Entry:
    """A dead letter an hour old."""
    usual: dict[str, Any] = {
        "message_id": "m-1",
        "job_key": KEY,
        "error_type": "throttled",
        "error_detail": "too fast",
        "failed_at": (NOW - timedelta(hours=1)).isoformat(),
        "first_seen": None,
        "attempts": 6,
        "unknown_count": 0,
        "origin_queue": "whatsapp.queue",
        "content_type": "application/json",
        "body": BODY,
    }
    return Entry(position=position, **{**usual, **facts})


# Choosing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"throttled", "network"})), True),
        (Selection(reasons=frozenset({"network"})), False),
        (Selection(key="m-1"), True),
        (Selection(key=KEY), True),
        (Selection(key=KEY[:8]), True),
        (Selection(key=KEY[:7]), False),
        (Selection(key="m-2"), False),
        (Selection(older_than=3500), True),
        (Selection(older_than=3700), False),
        (Selection(newer_than=3700), True),
        (Selection(newer_than=3500), False),
        (Selection(newer_than=3700, older_than=3500, key="m-1"), True),
    ],
)
def test_a_letter_is_meant_when_it_matches_everything(selection: Selection, matches: bool) -> None:
    assert selection.matches(entry(), NOW) is matches


@pytest.mark.parametrize("failed_at", [None, "", "yesterday"])
def test_a_letter_of_unknown_age_is_neither_old_nor_new(failed_at: str | None) -> None:
    letter = entry(failed_at=failed_at)
    assert not Selection(older_than=0).matches(letter, NOW)
    assert not Selection(newer_than=10**9).matches(letter, NOW)
    assert Selection().matches(letter, NOW)


def test_times_without_a_zone_are_taken_as_utc() -> None:
    letter = entry(failed_at="2026-01-01T23:00:00")
    assert Selection(older_than=3500, newer_than=3700).matches(letter, NOW)


def test_letters_without_reason_or_key_can_be_chosen_too() -> None:
    letter = entry(error_type=None, job_key=None, message_id=None)
    assert Selection(reasons=frozenset({"unknown"})).matches(letter, NOW)
    assert not Selection(key=KEY).matches(letter, NOW)


def test_a_limit_takes_the_oldest_that_match() -> None:
    many = [entry(0), entry(1, error_type="network"), entry(2), entry(3)]
    selection = Selection(reasons=frozenset({"throttled"}), limit=2)
    for _ in range(2):  # Each choice counts afresh.
        chosen = selection.choice()
        assert [each.position for each in many if chosen(each)] == [0, 2]


def test_options_are_read() -> None:
    assert (age("3d"), age("2h"), age("10m"), age("90")) == (259200, 7200, 600, 90)
    assert reason("invalid_phone") == "invalid_phone"
    assert reason("unknown") == "unknown"
    assert age("1.5 D") == 129600
    for wrong in ("d", "xd", "soon", "", "-1d", "nand", "infd", "1e3d", "1_0d"):
        with pytest.raises(typer.BadParameter):
            age(wrong)
    with pytest.raises(typer.BadParameter):
        reason("weather")


# Showing -----------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *entries: Entry, reveal: bool = False) -> str:
    """All ways of showing dead letters, together."""
    letters.print_table(list(entries))
    for each in entries:
        letters.print_details(each, reveal=reveal)
    return capsys.readouterr().out + json.dumps([letters.summary(each) for each in entries])


def test_number_and_text_are_hidden_unless_revealed(capsys: pytest.CaptureFixture[str]) -> None:
    hidden = printed(capsys, entry())
    assert TEXT not in hidden
    assert "987654" not in hidden
    assert "+55" in hidden
    assert f"{len(TEXT)} characters" in hidden
    revealed = printed(capsys, entry(), reveal=True)
    assert TEXT in revealed
    assert NUMBER in revealed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'"a string"',
        b'{"text_message": 7, "destination": null, "user_id": ["+5511987654321"]}',
        b'{"destination": "5511987654321", "user_id": "+5511987654321 and a longer text in here"}',
        b'{"text_message": "\\ud800"}',
    ],
    ids=range(7),
)
def test_whatever_a_body_holds_it_can_be_shown(
    body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = printed(capsys, entry(body=body))
    assert "98765" not in hidden
    assert printed(capsys, entry(body=body), reveal=True)


def test_what_should_be_a_user_and_is_none_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for odd in (NUMBER, TEXT):
        shown = printed(capsys, entry(body=json.dumps({"user_id": odd}).encode()))
        assert odd not in shown
        assert "no UUID" in shown
    user = "0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11"
    assert user in printed(capsys, entry(body=json.dumps({"user_id": user}).encode()))


@pytest.mark.parametrize("fact", ["message_id", "error_detail", "content_type", "origin_queue"])
def test_a_number_in_a_property_or_a_header_is_masked_unless_revealed(
    fact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts: dict[str, Any] = {fact: f"to {NUMBER}"}
    letter = entry(**facts)
    assert NUMBER not in printed(capsys, letter)
    assert letters.details(letter, reveal=True)[fact] == f"to {NUMBER}"


def test_hostile_headers_can_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[2J\r\n[bold]\u202e"
    letter = entry(message_id=nasty, error_detail=nasty, error_type=nasty, content_type=nasty)
    shown = printed(capsys, letter, reveal=True)
    assert not any(letter in shown for letter in ("\x1b", "\r", "\u202e"))
    assert "[bold]" in shown


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    letters.print_table([entry(error_detail="why " * 30)])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    assert rows[1].count("why") == 30


def test_a_letter_is_one_line_in_a_pipe_however_much_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    endless = "\x9b " * 512
    names = ("message_id", "error_type", "error_detail", "failed_at")
    facts: dict[str, Any] = dict.fromkeys(names, endless)
    letters.print_table([entry(**facts)])
    assert len(capsys.readouterr().out.splitlines()) == 2
