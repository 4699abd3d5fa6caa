"""scripts/verify runs every step, tells which failed, and leaves no test out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEPS = sorted((ROOT / "scripts/verify.d").iterdir())


class Runner:
    """scripts/verify in a tree of its own, with steps made for the test."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._steps = tree / "scripts/verify.d"
        self._steps.mkdir(parents=True)
        shutil.copy(ROOT / "scripts/verify", tree / "scripts")
        self._program("scripts/verify-setup", "#!/bin/sh")

    def step(self, name: str, *lines: str) -> None:
        self._program(f"scripts/verify.d/{name}", "#!/bin/sh", f"# Proves {name}.", *lines)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._tree / "scripts/verify", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def _program(self, name: str, *lines: str) -> None:
        path = self._tree / name
        path.write_text("\n".join((*lines, "")))
        path.chmod(0o755)


@pytest.fixture
def verify(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def verdicts(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^(?:ok|FAIL) +\S+", done.stdout, re.MULTILINE)


def test_all_steps_run_although_one_fails(verify: Runner) -> None:
    verify.step("10-one", "echo not shown")
    verify.step("20-two", "echo what is wrong", "exit 3")
    verify.step("30-three")
    done = verify()
    assert done.returncode == 1
    assert verdicts(done) == ["ok   one", "FAIL two", "ok   three"]
    assert "what is wrong" in done.stdout
    assert "not shown" not in done.stdout


def test_all_well_is_zero(verify: Runner) -> None:
    verify.step("10-one")
    assert verify().returncode == 0


def test_only_the_steps_named_run(verify: Runner) -> None:
    verify.step("10-one", "exit 1")
    verify.step("20-two")
    done = verify("two")
    assert (done.returncode, verdicts(done)) == (0, ["ok   two"])


def test_a_name_that_is_none_runs_nothing(verify: Runner) -> None:
    verify.step("10-one")
    done = verify("one", "nine")
    assert (done.returncode, verdicts(done)) == (1, [])
    assert "No such step: nine" in done.stderr


def test_a_step_without_its_tool_fails_and_says_what_to_install(verify: Runner) -> None:
    verify.step("10-one", "# Needs: surely-not-installed")
    done = verify()
    assert (done.returncode, verdicts(done)) == (1, ["FAIL one"])
    assert "apt-get install surely-not-installed" in done.stdout


def test_the_list_says_what_each_step_proves(verify: Runner) -> None:
    verify.step("10-one", "exit 1")
    done = verify("--list")
    assert done.stdout.split(maxsplit=1) == ["one", "Proves 10-one.\n"]


@pytest.mark.parametrize("step", STEPS, ids=lambda path: path.name)
def test_a_step_can_be_run_and_says_what_it_proves(step: Path) -> None:
    assert re.fullmatch(r"[0-9]{2}-[a-z-]+", step.name)
    assert step.stat().st_mode & 0o111
    _, proves, *_ = step.read_text().splitlines()
    assert re.fullmatch(r"# \w.*\.", proves)


def test_no_two_steps_have_one_name() -> None:
    assert len({step.name.partition("-")[2] for step in STEPS}) == len(STEPS)


ALSO_IN_MAKE_TEST = {"tests/test_links.py"}
"""Needs no tool; whoever writes documents looks at `make verify` for everything about them."""


def test_every_test_that_needs_tools_is_run_by_a_step() -> None:
    run = set(re.findall(r"tests/[\w/]+\.py", "".join(step.read_text() for step in STEPS)))
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^(?:@|\w+ = )pytest\.mark\.verify", path.read_text(), re.MULTILINE)
    }
    assert marked == run - ALSO_IN_MAKE_TEST


def test_the_tools_are_pinned_by_hash_and_name_no_registry() -> None:
    python = (ROOT / "requirements-verify.lock").read_text()
    assert "--hash=sha256:" in python
    assert not re.search(r"://|^-|file:", python, re.MULTILINE)
    node = (ROOT / "scripts/verify-node/package-lock.json").read_text()
    assert '"integrity": "sha512-' in node
    assert '"resolved"' not in node
