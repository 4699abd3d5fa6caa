"""The session's files and who may read them."""

from pathlib import Path

import pytest

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.whatsapp import files


def test_directory_and_database_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "session"
    files.prepare(directory)

    assert directory.stat().st_mode & 0o777 == 0o700
    assert files.database(directory).stat().st_mode & 0o777 == 0o600


def test_what_was_too_open_is_closed_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "session"
    directory.mkdir(mode=0o755)
    for name in ("whatsapp.db", "whatsapp.db-wal"):
        (directory / name).write_bytes(b"kept")
        (directory / name).chmod(0o644)
    files.prepare(directory)

    for name in ("whatsapp.db", "whatsapp.db-wal"):
        assert (directory / name).read_bytes() == b"kept"
        assert (directory / name).stat().st_mode & 0o777 == 0o600


def test_somebody_else_s_directory_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "session"
    directory.mkdir()
    directory.chmod(0o770)
    monkeypatch.setattr("os.geteuid", lambda: directory.stat().st_uid + 1)
    files.prepare(directory)

    assert directory.stat().st_mode & 0o777 == 0o770


def test_a_path_too_long_for_a_socket_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="97 bytes at most"):
        files.prepare(tmp_path / ("x" * 100))


def test_an_unusable_path_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Misconfigured, match="Not a directory"):
        files.prepare(tmp_path / "file" / "session")
