"""Anybody may publish to the dead-letter queue: it is shown all the same, and steers nothing."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from typer.testing import CliRunner

from tests.fuzz.drawing import examples, spoilt
from tests.support.privacy import TOKEN, leaks
from whatsapp_worker.amqp import copies, tolerant
from whatsapp_worker.amqp.dead_letters import DeadLetters, Entry
from whatsapp_worker.amqp.incoming import Arrival, Origin
from whatsapp_worker.cli import dlq, letters
from whatsapp_worker.cli.selection import Selection, age
from whatsapp_worker.errors import ErrorType
from whatsapp_worker.settings import Settings

NUMBER, BARE = "+15550100999", "15550100999"
TEXT = f"{TOKEN}0123abcd nobody may read"
USER = "0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11"
KEY = "6f1c9a52" * 8
BODY = {"user_id": USER, "text_message": TEXT, "destination": NUMBER}
LONGEST_LINE = 8 * 1024
LONGEST_DOCUMENT = 32 * 1024

QUEUE = DeadLetters(Settings())


# What is drawn -----------------------------------------------------------------------------------

STEERING = "\x1b[2J\x1b]0;title\x07\r\n\x9b31m[bold]\u202e\u2028\b"
LONG = st.sampled_from(
    ["x" * 20_000, f"{NUMBER} " * 2000, STEERING * 1000, "\u4e2d " * 900, "\x9b " * 600]
)
WORDS = st.one_of(
    LONG,
    st.sampled_from(
        [
            NUMBER,
            BARE,
            "+1 (555) 010-0999",
            f"{BARE}:7@s.whatsapp.net",
            STEERING,
            "throttled",
            "invalid_phone",
            "",
            " ",
            KEY,
            "2026-01-02T03:04:05Z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
        ]
    ),
    st.text(max_size=30),
)
SIMPLE: st.SearchStrategy[Any] = st.one_of(
    WORDS,
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([None, True, 1.5, float("nan"), Decimal("1E+255"), bytearray(b"x"), b"\xff"]),
    st.sampled_from([datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)]),
)
DEATH = st.fixed_dictionaries(
    {}, optional={"reason": SIMPLE, "time": SIMPLE, "queue": SIMPLE, "count": SIMPLE}
)
VALUES = SIMPLE | st.lists(DEATH | SIMPLE, max_size=2) | DEATH
OURS = [
    *("x-error-type", "x-error-detail", "x-failed-at", "x-first-seen", "x-attempts"),
    *("x-unknown-count", "x-origin-queue", "x-job-key", "x-death", "x-attempt", "traceparent"),
]
HEADERS = st.one_of(
    st.fixed_dictionaries({}, optional=dict.fromkeys(OURS, VALUES)),
    LONG.map(lambda text: dict.fromkeys(OURS, text)),
)

FIELDS = st.sampled_from(
    [
        NUMBER,
        BARE,
        TEXT,
        STEERING,
        "",
        None,
        7,
        [TEXT],
        {"a": NUMBER},
        "x" * 36,
        "+1555",
        USER,
        "\ud800",
        f"x{TEXT}"[:36],
        TEXT[:36],
        "tok-0123abcd",
        "order #1",
        10**400,
    ]
)
ENVELOPES = st.dictionaries(st.sampled_from([*BODY, "idempotency_key", "x"]), FIELDS).map(
    lambda changed: json.dumps({**BODY, **changed})
)
BODIES = st.one_of(
    ENVELOPES.map(str.encode),
    spoilt(ENVELOPES.map(str.encode)),
    st.builds(str.encode, ENVELOPES, st.sampled_from(["utf-16", "utf-32-be", "utf-8-sig"])),
    st.binary(max_size=50),
    st.sampled_from([b"[" * 60_000, b'"' + TEXT.encode() + b'"', b'{"a":' * 5000, b"9" * 5000]),
)  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """A dead letter as anybody may have published it, read as the tool reads it."""
    body = draw(BODIES)
    short = st.none() | WORDS.map(lambda text: text[:80])  # 255 bytes, on the wire.
    properties = Basic.Properties(
        headers=draw(HEADERS), message_id=draw(short), content_type=draw(short)
    )
    if draw(st.integers(0, 4)) == 0:
        properties.headers = None
        properties.repaired = ("headers",)  # type: ignore[attr-defined]  # As tolerant.py does.
    exchange = draw(st.sampled_from(["", "woragis.dlx"]))
    return QUEUE._entry(draw(st.integers(0, 65535)), Arrival(1, False, exchange, properties, body))


# What has to hold --------------------------------------------------------------------------------


def printed(show: Callable[[], None]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show()
    return out.getvalue()


def check_output(shown: str) -> None:
    assert shown.isascii() or all(
        letter.isprintable() or letter == "\n" for letter in shown
    ), shown  # fmt: skip
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", shown)


@examples(250)
@given(st.lists(entries(), min_size=1, max_size=3))
def test_any_dead_letters_are_listed_in_a_line_each_and_told_without_secrets(
    many: list[Entry],
) -> None:
    table = printed(lambda: letters.print_table(many))
    lines = table.splitlines()
    assert len(lines) == 1 + len(many)
    assert max(map(len, lines)) <= LONGEST_LINE
    for each in many:
        document = printed(lambda each=each: letters.print_details(each, reveal=False))  # type: ignore[misc]  # mypy does not know the default's type.
        summary = json.dumps(letters.summary(each))
        details = json.dumps(letters.details(each, reveal=False))
        for shown in (document, summary, details):
            assert len(shown) <= LONGEST_DOCUMENT
            assert leaks(shown) == {}
        check_output(document)
        assert json.loads(details).keys() > json.loads(summary).keys()
    check_output(table)
    assert leaks(table) == {}


@examples(80)
@given(entries())
def test_revealing_shows_all_and_still_steers_nothing(entry: Entry) -> None:
    document = printed(lambda: letters.print_details(entry, reveal=True))
    check_output(document)
    told = json.loads(json.dumps(letters.details(entry, reveal=True)))
    assert told["message_id"] == entry.message_id
    assert told["body"] == entry.body.decode(errors="backslashreplace")


@examples(80)
@given(entries())
def test_what_an_entry_says_of_itself_is_bounded_and_of_the_right_type(entry: Entry) -> None:
    for text in (entry.error_type, entry.error_detail, entry.failed_at, entry.origin_queue):
        assert text is None or (isinstance(text, str) and len(text) <= copies.MAX_DETAIL_BYTES)
    for number in (entry.attempts, entry.unknown_count):
        assert type(number) is int
    copy = copies.replay_copy(
        Origin("", Basic.Properties()), entry.job_key, entry.failed_at or "never"
    )
    assert len(copy.marshal()) < copies.MAX_HEADER_BYTES


# Choosing ----------------------------------------------------------------------------------------

app = typer.Typer()
made: list[Selection] = []


@app.command()
def _choose(
    reason: dlq.Reason = None,
    older_than: dlq.OlderThan = None,
    newer_than: dlq.NewerThan = None,
    key: dlq.Key = None,
    limit: dlq.Limit = None,
) -> None:
    made.append(dlq._selection(reason, older_than, newer_than, key, limit))


ARGUMENTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
AGES = st.one_of(
    st.sampled_from(
        [
            "3d",
            "90s",
            "10m",
            "2h",
            "0d",
            "-1d",
            "nand",
            "infd",
            "1e3d",
            "1_0d",
            "٣d",
            " 1d",
            "d",
            "9" * 400 + "d",
            "9" * 400,
            "1.5D",
            "+1d",
            "0x1d",
            ".5d",
            "1.d",
            "1md",
            "nan",
        ]
    ),
    ARGUMENTS,
)
DURATION = re.compile(r"[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?", re.IGNORECASE | re.ASCII)


@examples(200)
@given(AGES)
def test_an_age_is_a_time_that_people_write_or_a_usage_error(text: str) -> None:
    try:
        seconds = age(text)
    except typer.BadParameter as error:
        assert text not in {"3d", "90s", "10m", "2h", "0d"}
        assert str(error).isprintable()  # noqa: PT017  Both ends are right.
    else:
        assert DURATION.fullmatch(text.strip())
        assert seconds >= 0


@examples(120)
@given(
    st.dictionaries(
        st.sampled_from(["--reason", "--older-than", "--newer-than", "--key", "--limit"]),
        AGES | st.sampled_from([*ErrorType, "unknown", KEY, "5", "0", "-1", "\x1b[2J", "1e2"]),
        min_size=1,
    ),
    entries(),
)
@example({"--limit": "\x1b[2J"}, None)
def test_any_options_make_a_selection_or_a_usage_error(
    options: dict[str, str], entry: Entry | None
) -> None:
    made.clear()
    done = CliRunner().invoke(app, [f"{name}={value}" for name, value in options.items()])
    assert done.exit_code in {0, 2}, done.output
    assert "Traceback" not in done.output
    assert (len(made) == 1) is (done.exit_code == 0)
    if made and entry:
        assert isinstance(made[0].choice()(entry), bool)


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    tolerant.install()
