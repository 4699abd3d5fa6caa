"""What goes into the worker is pinned, no secret lies about, SECURITY.md names real evidence."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.verify_steps import run_step

ROOT = Path(__file__).parent.parent
BUILD_LOCK = ROOT / "requirements-build.lock"
PIN = re.compile(r"^([a-z0-9._-]+)==([^ ]+)", re.MULTILINE)


def pins(lock: str) -> set[tuple[str, str]]:
    return set(PIN.findall((ROOT / lock).read_text()))


# Pinned -----------------------------------------------------------------------------------------


def test_what_builds_the_package_is_pinned_like_everything_else() -> None:
    text = BUILD_LOCK.read_text()
    assert text.count("--hash=sha256:") >= len(PIN.findall(text)) > 0
    assert not re.search(r"://|^-|file:", text, re.MULTILINE)
    assert pins(BUILD_LOCK.name) <= pins("requirements-dev.lock")


def test_what_builds_the_package_is_what_the_project_asks_for() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    names = {re.split(r"[<>=~! ]", each)[0] for each in asked}
    assert names <= {name for name, _ in pins(BUILD_LOCK.name)}


# SECURITY.md ------------------------------------------------------------------------------------

SECURITY = (ROOT / "SECURITY.md").read_text()
EVIDENCE = re.findall(r"`((?:[\w@.-]+/)+[\w@.-]+|\.[a-z]+\.toml|Dockerfile)`", SECURITY)


@pytest.mark.parametrize("path", sorted(set(EVIDENCE)))
def test_the_evidence_that_security_md_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_claim_of_security_md_names_its_evidence() -> None:
    (table,) = re.findall(r"\| What \| How \| Evidence \|\n\|[-|]+\|\n((?:\|.*\n)+)", SECURITY)
    rows = [row.split(" | ") for row in table.strip().splitlines()]
    assert len(rows) > 5
    for what, _, evidence in rows:
        assert any(f"`{path}`" in evidence for path in EVIDENCE), what


# Secrets ----------------------------------------------------------------------------------------

# Written apart, so that the step does not find them here.
ADDRESS = "amqp" + "://woragis:{}@rabbitmq:5672/woragis"
OURS = "RABBITMQ_URL=" + ADDRESS.format("8fK2xQ") + "\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, and our rules."""
    shutil.copy(ROOT / ".gitleaks.toml", tmp_path)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@test.example")
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, timeout=20)


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--no-verify", "--message=A step")


def plant(repository: Path, path: str, text: str) -> Path:
    file = repository / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.verify
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/RUN.md", ADDRESS.format("password")),
        ("docs/RUN.md", ADDRESS.format("woragis")),
        ("whatsapp_worker/address.py", 'f"' + ADDRESS.format("{password}") + '"'),
        ("tests/test_x.py", ADDRESS.format("hunter2")),
        ("tests/corpus/tls/key.pem", (ROOT / "tests/corpus/tls/key.pem").read_text()),
        ("README.md", '{"idempotency_key": "order-12-on-its-way"}'),
    ],
)
def test_what_is_no_secret_passes(path: str, text: str, repository: Path) -> None:
    plant(repository, path, text)
    done = run_step("gitleaks", repository)
    assert done.returncode == 0, done.stdout


@pytest.mark.verify
@pytest.mark.parametrize(
    ("path", "text", "rule"),
    [
        ("deploy/worker.env", OURS, "amqp-url-password"),
        ("tests/test_x.py", OURS, "amqp-url-password"),
        ("docs/RUN.md", OURS.replace("amqp:", "AMQPS:"), "amqp-url-password"),
        ("whatsapp_worker/x.py", ADDRESS.format("hunter2"), "amqp-url-password"),
        ("k8s/key.pem", (ROOT / "tests/corpus/tls/key.pem").read_text(), "private-key"),
    ],
)
def test_a_secret_fails_the_step_gitleaks(
    path: str, text: str, rule: str, repository: Path
) -> None:
    plant(repository, path, text)
    done = run_step("gitleaks", repository)
    assert done.returncode != 0
    assert rule in done.stdout
    assert "8fK2xQ" not in done.stdout


@pytest.mark.verify
def test_a_secret_that_was_taken_back_fails_the_step_gitleaks(repository: Path) -> None:
    file = plant(repository, "deploy/worker.env", OURS)
    commit(repository)
    file.unlink()
    commit(repository)
    done = run_step("gitleaks", repository)
    assert done.returncode != 0
    assert "amqp-url-password" in done.stdout


@pytest.mark.verify
def test_a_fault_in_dockerfile_fails_the_step_hadolint(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".hadolint.yaml", tmp_path)
    text = (ROOT / "Dockerfile").read_text()
    (tmp_path / "Dockerfile").write_text(text)
    assert run_step("hadolint", tmp_path).returncode == 0
    (tmp_path / "Dockerfile").write_text(text.replace("USER 10001:10001", "USER root"))
    done = run_step("hadolint", tmp_path)
    assert done.returncode != 0
    assert "DL3002" in done.stdout
