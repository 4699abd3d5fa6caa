"""The log file: the same lines, for its owner alone, bounded, and never in the way."""

import io
import logging
import stat
import threading
from pathlib import Path

import pytest

from tests.support.logs import BOTH, PHONE, fail, logging_to
from whatsapp_worker import logs
from whatsapp_worker.delivery import trace
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.logs import file as log_file
from whatsapp_worker.settings import Environment, Settings

log = logging.getLogger("somebody.else")


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
