"""What bypasses logging is led into it: native output, and errors that nobody caught."""

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from textwrap import dedent

import pytest

from tests.support.logs import (
    PHONE,
    fail,
    logging_to,
    written,
)
from whatsapp_worker import logs
from whatsapp_worker.logs import process

log = logging.getLogger("somebody.else")


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
