"""What this repository promises about itself: sizes, import rules, documents that stay true."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from whatsapp_worker import __version__
from whatsapp_worker.settings.describe import descriptions

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "whatsapp_worker"

PIPELINE_LINES = 120
MODULE_LINES = 300
LONGER_FOR_A_REASON: dict[str, str] = {}
"""Modules over MODULE_LINES, each with the reason why it is one thing (a design question)."""


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def tracked_files() -> list[Path]:
    """What is committed or would be: everything but what .gitignore names."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_pipeline_fits_one_screen() -> None:
    assert lines_of(PACKAGE / "pipeline.py") <= PIPELINE_LINES


def test_modules_stay_small_or_say_why() -> None:
    long = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if lines_of(path) > MODULE_LINES
    }
    assert long == LONGER_FOR_A_REASON.keys()


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_documents_hold_what_the_code_says_today() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/write_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [each.name for each in descriptions()])
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "document", sorted(path.name for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md")
)
def test_documents_name_only_files_that_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`([\w./-]+(?:\.(?:py|md|toml|yml)|/))`", text))
    named |= set(re.findall(r"\]\(([\w./-]+)\)", text))
    roots = (ROOT, PACKAGE, ROOT / "tests")
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert missing == set()


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z-]+)\b`", (ROOT / document).read_text()))
        assert named
        assert named <= targets


def test_the_requirements_are_pinned_by_hash_and_name_no_address() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"://|^-|file:", text, re.MULTILINE)


# Written apart, so that this file does not find itself.
REGISTRIES = "|".join(
    ("py" + "pi.org", "files.python" + "hosted", "registry.npm" + "js", r"https?://[^\s\"]*/simple\b")
)  # fmt: skip
OPTIONS = "|".join(("--(?:extra-)?index" + "-url", "--find" + "-links"))
PLACES = "|".join(re.escape(part) for part in ("/" + "work/", "/" + "root/", str(ROOT) + "/"))


def test_no_file_names_a_package_registry_or_a_path_of_somebodys_machine() -> None:
    forbidden = re.compile(f"{REGISTRIES}|{OPTIONS}|{PLACES}")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked_files()
        for match in forbidden.finditer(path.read_bytes().decode(errors="replace"))
    ]
    assert found == []


def test_the_runtime_lock_is_part_of_the_development_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pin = re.compile(r"^[a-z0-9._-]+==[^ ]+", re.MULTILINE)
    runtime, development = (
        set(pin.findall((ROOT / name).read_text()))
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert len(runtime) > len(project["dependencies"])
    assert runtime <= development
