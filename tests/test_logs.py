"""One line per event, in a form machines or people can read, with nothing private in it."""

import asyncio
import io
import logging
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import (
    BOTH,
    PHONE,
    fail,
    logging_to,
    written,
)
from whatsapp_worker import __version__, logs
from whatsapp_worker.delivery import trace
from whatsapp_worker.settings import Environment, Settings

log = logging.getLogger("somebody.else")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_writes_one_json_object_per_line_that_begins_with_time_level_logger_and_message() -> None:
    with logging_to(io.StringIO()) as stream:
        log.info("hello %s,\nworld", "new", extra={"queue": "whatsapp.queue"})
    (line,) = written(stream)
    assert list(line)[:4] == ["timestamp", "level", "logger", "message"]
    assert line.pop("timestamp")[10:].endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "somebody.else",
        "message": "hello new,\nworld",
        "service": "whatsapp-worker",
        "version": __version__,
        "env": "production",
        "queue": "whatsapp.queue",
    }


def test_writes_a_readable_line_with_exceptions_indented_in_development() -> None:
    with logging_to(io.StringIO(), env=Environment.DEVELOPMENT) as stream:
        try:
            fail(ValueError("bad"))
        except ValueError:
            log.exception("it %s\nbadly", "failed", extra={"queue": "q", "two": "a\nb"})
    first, *rest = stream.getvalue().splitlines()
    assert first[12:] == " ERROR    somebody.else: it failed queue=q two=a\\nb"
    assert rest[:2] == ["    badly", "    Traceback (most recent call last):"]
    assert rest[-1] == "    ValueError: bad"
    assert all(line.startswith("    ") for line in rest)


def test_colours_warnings_on_a_terminal_only_and_never_with_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with logging_to(Terminal(), env=Environment.DEVELOPMENT) as coloured:
        log.warning("careful")
        log.info("calm")
    assert coloured.getvalue().count("\x1b[33m") == 1
    with logging_to(io.StringIO(), env=Environment.DEVELOPMENT) as piped:
        log.warning("careful")
    monkeypatch.setenv("NO_COLOR", "1")
    with logging_to(Terminal(), env=Environment.DEVELOPMENT) as plain:
        log.warning("careful")
    assert "\x1b" not in piped.getvalue() + plain.getvalue()


@BOTH
def test_escapes_what_would_drive_a_terminal_or_has_no_utf8_form(env: Environment) -> None:
    with logging_to(io.StringIO(), env=env) as stream:
        log.warning("a\x1b[2Jb\udc80c\u202ed\r", extra={"field": "\x07\u2028"})
    stream.getvalue().encode()
    assert not set("\x1b\x07\r\u2028\u202e\udc80") & set(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 1


@BOTH
def test_takes_its_level_from_the_environment_unless_told(env: Environment) -> None:
    with logging_to(io.StringIO(), env=env) as stream:
        log.debug("detail")
    assert bool(stream.getvalue()) == (env is Environment.DEVELOPMENT)
    with logging_to(io.StringIO(), env=env, log_level="ERROR") as stream:
        log.warning("careful")
    assert not stream.getvalue()


def test_still_writes_a_line_whose_arguments_do_not_fit() -> None:
    with logging_to(io.StringIO()) as stream:
        log.info("%d jobs", "+" + PHONE)
        log.info({"destination": PHONE})
    first, second = written(stream)
    assert "'%d jobs' could not be formatted (TypeError)" in first["message"]
    assert second["message"] == "{'destination': '***1234'}"


def test_an_extra_cannot_pass_itself_off_as_one_of_our_own_fields() -> None:
    forged = dict.fromkeys(
        ("level", "logger", "service", "version", "env", "timestamp", "exception", "stack"), "x"
    )
    with logging_to(io.StringIO()) as stream:
        log.info("hello", extra=forged)
    assert "x" not in written(stream)[0].values()


async def test_puts_the_trace_id_of_its_task_into_every_line() -> None:
    async def job(trace_id: str) -> None:
        trace.set(trace_id)
        await asyncio.sleep(0)
        log.info("working")

    with logging_to(io.StringIO()) as stream:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(job("a" * 32))
            tasks.create_task(job("b" * 32))
        log.info("idle")
    assert [line.get("trace_id") for line in written(stream)] == ["a" * 32, "b" * 32, None]


def test_the_last_words_after_closing_are_masked_as_well(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with logging_to(io.StringIO()) as stream:
        settings = Settings(env=Environment.PRODUCTION, log_to_file=True, log_dir=tmp_path)
        logs.configure(settings, stream=stream).close()
        log.warning("to %s", PHONE)
    assert written(stream)[0]["message"] == "to ***1234"
    assert capfd.readouterr() == ("", "")


@BOTH
def test_quiets_libraries_whatever_the_level(env: Environment) -> None:
    with logging_to(io.StringIO(), env=env, log_level="DEBUG") as stream:
        logging.getLogger("aio_pika.robust_connection").error("attempt 17 failed")
        logging.getLogger("aiormq.connection").warning("closed")
        logging.getLogger("aiosqlite").debug("executing with ('x',)")
        logging.getLogger("whatsmeow.Client").info("connected")
        assert not stream.getvalue()
        logging.getLogger("whatsmeow.Client").warning("Failed to fetch prekeys")
    assert "prekeys" in stream.getvalue()


def test_writes_pythons_warnings_as_lines() -> None:
    with logging_to(io.StringIO()) as stream, warnings.catch_warnings():
        warnings.simplefilter("always")  # The tests' own rule would raise it.
        warnings.warn(f"to {PHONE}", stacklevel=1)
    (line,) = written(stream)
    assert (line["logger"], line["level"]) == ("py.warnings", "WARNING")
    assert "UserWarning: to ***1234" in line["message"]


AROUND = st.text("xyz:;=,\"'é[]{}<>%\n", max_size=5)
WRITTEN = st.sampled_from(
    [PHONE, "+" + PHONE, "+55 11 98765-1234", "55 (11) 98765-1234", PHONE + "@s.whatsapp.net"]
)


class Failure(Exception):
    def __repr__(self) -> str:
        return f"Failure({self})"


@BOTH
@given(AROUND, WRITTEN, AROUND)
def test_no_part_of_a_line_shows_a_phone_number(
    env: Environment, before: str, number: str, after: str
) -> None:
    text = before + number + after
    template = text.replace("%", "%%") + " and %s, %r"
    with logging_to(io.StringIO(), env=env) as stream:
        try:
            try:
                fail(KeyError(text))
            except KeyError as error:
                raise Failure(text) from error
        except Failure as failure:
            log.exception(
                template,
                text,
                {"to": text},
                extra={"x": [text, {text: text}], "number": int(PHONE), "error": failure},
            )
        logging.getLogger("aiohttp.web").warning(text.replace("%", "%%"), stack_info=True)
        logging.getLogger(PHONE).warning("who?")
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # The tests' own rule would raise it.
            warnings.warn(text, stacklevel=1)
    shown = "".join(filter(str.isdigit, stream.getvalue()))
    assert PHONE not in stream.getvalue()
    assert PHONE not in shown
    assert "98765" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 9


@BOTH
def test_no_line_shows_a_secret(env: Environment) -> None:
    with logging_to(io.StringIO(), env=env) as stream:
        log.error("cannot reach amqp://woragis:hunter2@rabbitmq:5672/woragis")
        log.error("settings", extra={"rabbitmq_password": "hunter2", "url": "amqp://a:hunter2@h"})
        log.error("code 2@hunter2hunter2,hunter2=,hunter2,1")
        log.error("read", extra={"text_message": "hunter2", "body": b"hunter2"})
    assert "hunter2" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 4
