"""One line per event, in a form machines or people can read, with nothing private in it."""

import asyncio
import io
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_worker import __version__, logs
from whatsapp_worker.delivery import Delivery, trace
from whatsapp_worker.envelope import WhatsAppEnvelope
from whatsapp_worker.errors import ErrorType, InDoubt, Invalid, Misconfigured, Throttled
from whatsapp_worker.logs import file as log_file
from whatsapp_worker.logs import process
from whatsapp_worker.logs.configuration import LIBRARY_LEVELS
from whatsapp_worker.outcome import (
    AlreadySent,
    DeadLetter,
    Duplicate,
    Job,
    Outcome,
    Record,
    Reject,
    Retry,
    Sent,
    Superseded,
)
from whatsapp_worker.settings import Environment, Settings

PHONE = "5511987651234"
TEXT = "Your parcel waits behind the green door"
USER = UUID("550e8400-e29b-41d4-a716-446655440000")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
JOB = Job("6fdb987ade10ee88" * 4, attempt=2, unknown_count=1)
ENVELOPE = WhatsAppEnvelope.model_validate(
    {"user_id": str(USER), "text_message": TEXT, "destination": f"+{PHONE}"}
)
BOTH = pytest.mark.parametrize("env", list(Environment))

log = logging.getLogger("somebody.else")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def logging_to(stream: io.StringIO, **settings: Any) -> Iterator[io.StringIO]:
    """Logs configured as the worker does it, and put back as they were afterwards."""
    root, libraries = logging.getLogger(), [logging.getLogger(name) for name in LIBRARY_LEVELS]
    with ExitStack() as undo:
        undo.callback(setattr, root, "handlers", root.handlers)
        undo.callback(setattr, logging, "raiseExceptions", logging.raiseExceptions)
        undo.callback(logging.captureWarnings, False)
        for logger in (root, *libraries):
            undo.callback(logger.setLevel, logger.level)
        given = {"env": Environment.PRODUCTION, **settings}
        undo.enter_context(logs.configure(Settings(**given), stream=stream))
        yield stream


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(outcome: Outcome, **delivery: Any) -> Record:
    given: dict[str, Any] = {"message_id": "order-17", "trace_id": TRACE, **delivery}
    return Record(Delivery(TEXT.encode(), **given), outcome, 0.41234, ENVELOPE)


def fail(error: Exception) -> None:
    raise error


# A line ----------------------------------------------------------------------------------------


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


# Privacy ---------------------------------------------------------------------------------------

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


# The line of a job -----------------------------------------------------------------------------

OUTCOMES: dict[str, tuple[Outcome, str, str, dict[str, object]]] = {
    "sent": (
        Sent(JOB, "3EB0C0FFEE1234567890AB"),
        "INFO",
        "job sent",
        {"attempt": 2, "whatsapp_id": "3EB0C0FFEE1234567890AB"},
    ),
    "sent_before": (
        Duplicate(AlreadySent(JOB)),
        "INFO",
        "duplicate of a job dropped: it was sent before",
        {"attempt": 2},
    ),
    "stale": (
        Duplicate(Superseded(JOB)),
        "INFO",
        "stale copy of a job dropped: a newer one exists",
        {"attempt": 2},
    ),
    "retry": (
        Retry(JOB, Throttled(ErrorType.THROTTLED, "too fast"), 3, 30, 21.25),
        "WARNING",
        "job failed, next try in 21.2 s: too fast",
        {
            "attempt": 3,
            "error_type": "throttled",
            "error_detail": "too fast",
            "retry_in_seconds": 21.2,
        },
    ),
    "dead_letter": (
        DeadLetter(JOB, InDoubt("no answer"), 6),
        "WARNING",
        "job dead-lettered: no answer",
        {"attempt": 6, "error_type": "unknown_outcome", "error_detail": "no answer"},
    ),
}  # fmt: skip  One outcome per paragraph.


@pytest.mark.parametrize("case", OUTCOMES)
def test_writes_exactly_one_line_for_a_settled_job(case: str) -> None:
    outcome, level, sentence, own = OUTCOMES[case]
    with logging_to(io.StringIO()) as stream:
        logs.observe(record(outcome, redelivered=True))
    (line,) = written(stream)
    assert (line["level"], line["message"]) == (level, sentence)
    assert own.items() <= line.items()
    common = {
        "logger": "whatsapp_worker.job",
        "event": "job",
        "outcome": {"sent_before": "duplicate", "stale": "duplicate"}.get(case, case),
        "unknown_count": 1,
        "job_key": JOB.key[:32],
        "duration_seconds": 0.412,
        "user_id": str(USER),
        "recipient": "***1234",
        "message_id": "order-17",
        "redelivered": True,
        "trace_id": TRACE,
    }
    assert common.items() <= line.items()


def test_leaves_out_of_a_rejected_messages_line_what_is_not_known() -> None:
    invalid = Invalid(ErrorType.MALFORMED, "the body is not JSON")
    with logging_to(io.StringIO()) as stream:
        logs.observe(Record(Delivery(b"{"), Reject(invalid), 0.001))
    (line,) = written(stream)
    assert set(line) == {
        "timestamp",
        "level",
        "logger",
        "message",
        "service",
        "version",
        "env",
        "event",
        "outcome",
        "error_type",
        "error_detail",
        "duration_seconds",
        "redelivered",
    }  # fmt: skip  A set of names.
    assert (line["level"], line["outcome"]) == ("WARNING", "reject")
    assert line["message"] == "message dead-lettered, no job: the body is not JSON"


@BOTH
@pytest.mark.parametrize("case", OUTCOMES)
def test_a_jobs_line_shows_neither_text_nor_number(case: str, env: Environment) -> None:
    with logging_to(io.StringIO(), env=env) as stream:
        logs.observe(record(OUTCOMES[case][0], message_id=f"{PHONE}-{'x' * 500}"))
    assert TEXT not in stream.getvalue()
    assert PHONE not in stream.getvalue()
    assert "x" * 129 not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


# The file --------------------------------------------------------------------------------------


@BOTH
def test_writes_the_same_lines_to_a_file_only_its_owner_can_read(
    env: Environment, tmp_path: Path
) -> None:
    directory = tmp_path / "new" / "logs"
    with logging_to(io.StringIO(), env=env, log_to_file=True, log_dir=directory) as stream:
        trace.set("")
        log.warning("to %s", PHONE, extra={"queue": "q"})
        try:
            fail(ValueError(PHONE))
        except ValueError:
            log.exception("100 %s bad")
    path = directory / "whatsapp-worker.log"
    assert path.read_text() == stream.getvalue()
    assert "***1234" in stream.getvalue()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_closes_a_file_that_others_could_read_to_them(tmp_path: Path) -> None:
    path = tmp_path / "whatsapp-worker.log"
    path.write_text("before\n")
    path.chmod(0o644)
    with logging_to(io.StringIO(), log_to_file=True, log_dir=tmp_path):
        log.warning("after")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("before\n{")


def test_puts_a_full_file_aside_and_keeps_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "BYTES", 1000)
    monkeypatch.setattr(log_file, "KEPT", 2)
    with logging_to(io.StringIO(), log_to_file=True, log_dir=tmp_path):
        for number in range(50):
            log.warning("line %d", number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"whatsapp-worker.log{suffix}" for suffix in ("", ".1", ".2")]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())


def test_a_stuck_disk_neither_holds_up_the_caller_nor_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LINES_WAITING", 3)
    disk, arrived = threading.Event(), threading.Event()

    def stuck(*_: object) -> None:
        arrived.set()
        disk.wait(20)

    monkeypatch.setattr(log_file._PrivateFile, "shouldRollover", stuck)
    with logging_to(io.StringIO(), log_to_file=True, log_dir=tmp_path) as stream:
        log.warning("first")
        assert arrived.wait(20)
        for number in range(100):
            log.warning("line %d", number)
        assert len(stream.getvalue().splitlines()) == 101
        disk.set()
    lines = (tmp_path / "whatsapp-worker.log").read_text().splitlines()
    assert len(lines) == 1 + 3


def test_says_what_to_do_when_the_directory_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a directory should be")
    with pytest.raises(Misconfigured, match=r"LOG_DIR: .*logs cannot be written .*LOG_TO_FILE"):
        logs.configure(Settings(log_to_file=True, log_dir=tmp_path / "logs"))


# What bypasses logging -------------------------------------------------------------------------


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_native_output_becomes_log_lines_and_never_breaks_the_stream() -> None:
    ended = run("""
        import ctypes, logging, os, subprocess, sys, threading
        from whatsapp_worker import logs
        from whatsapp_worker.settings import Environment, Settings

        stream = logs.protect_stdout()
        logs.configure(
            Settings(env=Environment.PRODUCTION, log_level="DEBUG"), stream=stream
        )
        done = threading.Event()

        class Last(logging.Handler):
            def emit(self, record):
                if record.getMessage() == "last":
                    done.set()

        logging.getLogger().addHandler(Last())
        c = ctypes.CDLL(None)
        os.write(1, b"SendMessage: Error sending message: to 5511987651234@s.whatsapp.net\\n\\n")
        c.printf(b"Login event: %s\\n", b"timeout")
        c.fflush(None)
        print("status: +55 11 98765-1234", flush=True)
        subprocess.run(["echo", "from a child"], check=True)
        os.write(1, b"\\xff\\xfe 2@QRQRQRQRQR==,QRQRQR,x\\n")
        os.write(1, b"y" * 20000 + b" 5511987651234\\n")
        os.write(1, b"last\\n")

        done.wait(20)
        logging.getLogger("us").info("ours")
        print("to stderr", file=sys.stderr)
    """)
    assert (ended.returncode, ended.stderr) == (0, "to stderr\n")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    native = [line["message"] for line in lines if line["logger"] == "native.stdout"]
    assert [message[:60] for message in native] == [
        "SendMessage: Error sending message: to ***1234@s.whatsapp.net"[:60],
        "Login event: timeout",
        "status: ***1234",
        "from a child",
        "\\xff\\xfe ***",
        "y" * 60,
        "last",
    ]
    assert {line["level"] for line in lines if line["logger"] == "native.stdout"} == {"DEBUG"}
    assert [line["message"] for line in lines if line["logger"] == "us"] == ["ours"]
    assert "98765" not in ended.stdout


def test_of_a_printed_line_without_end_only_the_beginning_is_logged() -> None:
    with logging_to(io.StringIO(), log_level="DEBUG") as stream:
        process._drain(io.BytesIO(b"one\n\n" + b"y" * 20_000 + b" " + PHONE.encode() + b"\nend"))
    assert [line["message"] for line in written(stream)] == ["one", "y" * 8192, "end"]


def test_an_uncaught_error_is_logged_and_masked_instead_of_printed() -> None:
    ended = run("""
        import asyncio
        from whatsapp_worker import logs
        from whatsapp_worker.settings import Environment, Settings

        async def main():
            logs.configure(Settings(env=Environment.PRODUCTION))
            logs.install_exception_hooks(asyncio.get_running_loop())
            raise ValueError("to +5511987651234")

        asyncio.run(main())
    """)
    assert (ended.returncode, ended.stderr) == (1, "")
    (line,) = (json.loads(each) for each in ended.stdout.splitlines())
    assert (line["level"], line["logger"]) == ("CRITICAL", "whatsapp_worker.process")
    assert line["exception"].endswith("ValueError: to ***1234")


@pytest.fixture
def _hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the interpreter's hooks back after the test."""
    for owner, name in ((sys, "excepthook"), (threading, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


@pytest.mark.usefixtures("_hooks")
async def test_errors_in_threads_destructors_and_the_loop_are_logged_and_masked() -> None:
    class Careless:
        def __del__(self) -> None:
            raise ValueError(PHONE)

    loop = asyncio.get_running_loop()
    logs.install_exception_hooks(loop)
    with logging_to(io.StringIO()) as stream:
        thread = threading.Thread(target=fail, args=(ValueError(PHONE),), name="callbacks")
        thread.start()
        thread.join()
        quiet = threading.Thread(target=sys.exit)
        quiet.start()
        quiet.join()
        Careless()
        loop.call_soon(fail, ValueError(PHONE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
        sys.excepthook(ValueError, ValueError(PHONE), None)
    lines = written(stream)
    assert [line["message"].split(":")[0] for line in lines] == [
        "thread callbacks ended by an error",
        "an error was raised where none can be caught",
        "asyncio",
        "the worker ends by an error nobody expected",
    ]
    assert all(line["exception"].endswith("ValueError: ***1234") for line in lines)
