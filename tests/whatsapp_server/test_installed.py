"""What is read out of the installed neonize, and the copy that trusts our server."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.whatsapp_server.installed import (
    KEY_SIZE,
    _root_key_offset,
    library_path,
    package_directory,
    patched_copy,
    token_dictionaries,
)
from tests.whatsapp_server.shared_library import GoLibrary, UnknownLayout

ROOT = Path(__file__).parents[2]
OUR_KEY = hashlib.sha256(b"a key of our own").digest()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("patched")
    patched_copy(target, OUR_KEY)
    return target


def files(package: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(package)): path.read_bytes()
        for path in package.rglob("*.py")
        if path.is_file()
    }


def test_the_dictionaries_have_the_sizes_of_the_protocol() -> None:
    tokens = token_dictionaries()
    assert len(tokens.single) == 236
    assert [len(words) for words in tokens.double] == [256] * 4


def test_the_dictionaries_have_no_word_twice() -> None:
    tokens = token_dictionaries()
    words = [*tokens.single, *(word for words in tokens.double for word in words)]
    assert len(words) == len(set(words)) == 236 + 4 * 256
    assert [word for word in words if not word] == [tokens.single[0]]


@pytest.mark.parametrize("word", ["message", "receipt", "participants", "s.whatsapp.net", "iq"])
def test_the_words_of_every_stanza_are_in_the_first_dictionary(word: str) -> None:
    assert word in token_dictionaries().single


def test_the_dictionaries_are_read_once_per_process() -> None:
    assert token_dictionaries() is token_dictionaries()


def test_the_copy_differs_in_one_place_of_the_library_only(copy: Path) -> None:
    before = library_path(package_directory()).read_bytes()
    after = library_path(copy / "neonize").read_bytes()
    at = after.find(OUR_KEY)
    assert after.count(OUR_KEY) == 1
    assert OUR_KEY not in before
    assert before[:at] + OUR_KEY + before[at + KEY_SIZE :] == after
    assert files(copy / "neonize") == files(package_directory())


def test_the_installed_library_still_has_the_key_of_whatsapp(copy: Path) -> None:
    original = library_path(package_directory())
    assert not original.samefile(library_path(copy / "neonize"))
    assert _root_key_offset(original) > 0


def test_a_library_without_the_key_is_called_unknown(copy: Path) -> None:
    with pytest.raises(UnknownLayout, match="found 0 times"):
        _root_key_offset(library_path(copy / "neonize"))


def test_a_package_without_its_library_is_called_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownLayout, match="0 Linux libraries"):
        library_path(tmp_path)


def test_a_library_of_another_program_is_called_unknown() -> None:
    python = GoLibrary.read(Path(sys.executable))
    with pytest.raises(UnknownLayout, match="noptrdata"):
        python.section(".noptrdata")
    with pytest.raises(UnknownLayout, match="no array of strings"):
        GoLibrary.read(library_path(package_directory())).strings_from("no such", "words", 1)


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


READ_OURS = """
from tests.whatsapp_server.installed import e2e
import sys
"""
READ_NEONIZE = """
import neonize.client
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import Message
"""
COMPARE = """
text = Message.FromString(e2e.Message(conversation="hello").SerializeToString()).conversation
print(text, e2e.Message.FromString(Message(conversation="there").SerializeToString()).conversation)
"""


def test_nothing_of_ours_loads_the_go_library() -> None:
    assert run(f"{READ_OURS}\nprint('neonize' in sys.modules)") == "False"


@pytest.mark.parametrize("script", [READ_OURS + READ_NEONIZE, READ_NEONIZE + READ_OURS])
def test_neonize_can_be_imported_in_the_same_process(script: str) -> None:
    assert run(script + COMPARE) == "hello there"


def test_a_process_uses_the_copy_if_it_comes_first(copy: Path) -> None:
    script = "import neonize.client; print(neonize.client.__file__)"
    assert run(script, PYTHONPATH=str(copy)) == str(copy / "neonize" / "client.py")
