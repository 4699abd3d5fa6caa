"""One daemon per session directory, and nobody else may look into it."""

import os
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import pytest

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.session_directory import Held, hold, lock_path


def test_makes_a_private_directory_and_a_private_lock(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    with hold(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert lock_path(directory).stat().st_mode & 0o777 == 0o600


def test_closes_a_directory_that_was_open_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with hold(tmp_path):
        assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_refuses_a_second_holder_and_names_the_first(tmp_path: Path) -> None:
    in_use = f"in use by process {os.getpid()} on"
    with hold(tmp_path), pytest.raises(Held, match=in_use), hold(tmp_path):
        pass


def test_can_be_held_again_once_it_was_let_go(tmp_path: Path) -> None:
    with hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys, signal, pathlib\n"
        "from whatsapp_worker.session_directory import hold\n"
        "with hold(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {holder.pid} on"), hold(tmp_path):
            pass
        holder.kill()
    with hold(tmp_path):
        pass


def test_says_what_to_do_when_it_can_not_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    advice = "make it a directory this user can write to"
    with pytest.raises(Misconfigured, match=advice), hold(file / "session"):
        pass


def test_a_full_disk_does_not_keep_it_from_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with hold(tmp_path), pytest.raises(Held, match="another process"), hold(tmp_path):
        pass
