"""A neonize that is not complete is noticed before it is imported."""

import importlib
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import Settings
from whatsapp_worker.whatsapp import installation
from whatsapp_worker.whatsapp.environment import required_environment
from whatsapp_worker.whatsapp.installation import (
    check_installation,
    load_native,
    native_library_name,
)

Find = Callable[[str], ModuleSpec | None]


def finds(directory: Path | None) -> Find:
    def find(name: str) -> ModuleSpec | None:
        if directory is None:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(directory)]
        return spec

    return find


def test_the_installation_of_this_environment_is_complete() -> None:
    check_installation()


def test_checking_does_not_import_neonize() -> None:
    code = (
        "import sys; from whatsapp_worker.whatsapp import check_installation;"
        "check_installation(); sys.exit('neonize' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", finds(None))

    with pytest.raises(Misconfigured, match="neonize is not installed"):
        check_installation()


def test_a_missing_native_library_is_named_before_it_would_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", finds(tmp_path))

    with pytest.raises(Misconfigured, match=native_library_name()):
        load_native(tmp_path / "whatsapp.db", None)


def test_a_missing_libmagic_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_magic(name: str) -> None:
        assert name == "magic"
        raise ImportError("failed to find libmagic")

    monkeypatch.setattr(importlib, "import_module", no_magic)

    with pytest.raises(Misconfigured, match="apt-get install libmagic1"):
        check_installation()


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "neonize-linux-amd64.so"),
        ("Linux", "aarch64", "neonize-linux-arm64.so"),
        ("Linux", "s390x", "neonize-linux-s390x.so"),
        ("Darwin", "arm64", "neonize-darwin-arm64.dylib"),
        ("Windows", "AMD64", "neonize-windows-amd64.dll"),
    ],
)
def test_the_library_s_name_is_the_one_neonize_looks_for(
    system: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)

    assert native_library_name() == name


def test_the_import_changes_no_log_handler_and_quiets_the_library() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with installation._logging_kept():
        root.addHandler(logging.NullHandler())
        root.setLevel(logging.DEBUG)

    assert (root.handlers, root.level) == before
    for name in ("whatsmeow.Client", "Whatsmeow.Database", "neonize.utils.log"):
        assert logging.getLogger(name).getEffectiveLevel() == logging.WARNING


def test_an_import_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import whatsapp_worker.whatsapp

    monkeypatch.delattr(whatsapp_worker.whatsapp, "native", raising=False)
    monkeypatch.setitem(sys.modules, "whatsapp_worker.whatsapp.native", None)

    with pytest.raises(Misconfigured, match="cannot be loaded"):
        load_native(tmp_path / "whatsapp.db", None)


def test_no_message_says_that_it_comes_from_a_bot() -> None:
    assert required_environment(Settings()) == {"NEONIZE_BOT_TAG": "off"}
