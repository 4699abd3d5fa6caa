"""Dockerfile keeps what README.md and the manifests promise; `make image-check` runs the image."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from whatsapp_worker.settings import Settings
from whatsapp_worker.whatsapp.environment import required_environment

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """What Dockerfile says.

    Attributes:
        text: all of it.
        stages: by stage, its instructions in order: word, and what follows on one line.
    """

    text: str
    stages: list[list[tuple[str, str]]]

    @classmethod
    def parse(cls, text: str) -> "Dockerfile":
        """Read it: comments go, continued lines are joined, every FROM begins a stage."""
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()
        stages: list[list[tuple[str, str]]] = [[]]
        for line in joined:
            word, _, rest = line.partition(" ")
            if word == "FROM":
                stages.append([])
            stages[-1].append((word, rest))
        return cls(text, stages)

    def all(self, word: str) -> list[str]:
        """What follows this instruction, in any stage."""
        return [rest for stage in self.stages for name, rest in stage if name == word]

    def shipped(self, word: str) -> list[str]:
        """What follows this instruction in the last stage, the one that is shipped."""
        return [rest for name, rest in self.stages[-1] if name == word]


@pytest.fixture
def dockerfile() -> Dockerfile:
    return Dockerfile.parse(DOCKERFILE.read_text())


def test_it_runs_as_a_user_without_rights(dockerfile: Dockerfile) -> None:
    assert dockerfile.shipped("USER")[-1] == "10001:10001"  # Numbers: Kubernetes has to see them.


def test_every_stage_begins_at_the_one_base(dockerfile: Dockerfile) -> None:
    (base,) = re.findall(r"^BASE_IMAGE=(\S+)$", dockerfile.stages[0][0][1])
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base)
    froms = [re.sub(r" AS \w+$", "", rest) for rest in dockerfile.all("FROM")]
    assert len(froms) > 1
    assert set(froms) == {"${BASE_IMAGE}"}


def test_it_needs_nothing_of_a_registry_but_the_base(dockerfile: Dockerfile) -> None:
    assert not re.search(r"^# *syntax=|<<|--mount|COPY --from=[^b]", dockerfile.text, re.MULTILINE)
    assert dockerfile.all("ADD") == []


def test_nothing_is_installed_without_its_hash(dockerfile: Dockerfile) -> None:
    commands = [part for run in dockerfile.all("RUN") for part in re.split(r" && |; ", run)]
    installed = [each for each in commands if re.search(r"\bpip\b.* (install|wheel) ", each)]
    assert len(installed) == 4
    for command in installed:
        alone = "--no-deps --no-build-isolation" if " wheel " in command else "--no-deps"
        assert "--require-hashes -r " in command or f" {alone} " in command
    assert sum("--require-hashes" in each for each in installed) == 2


def test_signals_reach_the_worker(dockerfile: Dockerfile) -> None:
    assert dockerfile.shipped("ENTRYPOINT") == ['["tini", "--", "whatsapp-worker"]']
    assert dockerfile.shipped("CMD")[-1] == '["run"]'
    assert dockerfile.shipped("STOPSIGNAL") == ["SIGTERM"]


def test_the_worker_checks_its_own_health(dockerfile: Dockerfile) -> None:
    (check,) = dockerfile.shipped("HEALTHCHECK")
    assert check.endswith('CMD ["whatsapp-worker", "healthcheck"]')


def test_the_session_lies_where_its_volume_is(dockerfile: Dockerfile) -> None:
    (made,) = re.findall(r"install -d --owner=worker .*--mode=0700 (\S+)", dockerfile.text)
    assert made == str(Settings().whatsapp_session_path)
    assert dockerfile.shipped("WORKDIR") == [str(Path(made).parent)]


def test_the_worker_needs_no_second_start(dockerfile: Dockerfile) -> None:
    given = dict(pair.split("=", 1) for rest in dockerfile.shipped("ENV") for pair in rest.split())
    assert required_environment(Settings()).items() <= given.items()


def test_the_port_is_the_workers(dockerfile: Dockerfile) -> None:
    assert dockerfile.shipped("EXPOSE") == [str(Settings().http_port)]


def test_only_what_is_built_is_sent_to_the_engine(dockerfile: Dockerfile) -> None:
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    copied = {
        source
        for rest in dockerfile.all("COPY")
        if not rest.startswith("--from=build ")
        for source in rest.split()[:-1]
    }
    assert ignored[0] == "*"
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (test_it_runs_as_a_user_without_rights, "USER 10001:10001", "USER root"),
        (test_it_runs_as_a_user_without_rights, "USER 10001:10001", "USER worker"),
        (test_every_stage_begins_at_the_one_base, "slim-bookworm", "latest"),
        (test_every_stage_begins_at_the_one_base, "FROM ${BASE_IMAGE}\n", "FROM debian\n"),
        (test_it_needs_nothing_of_a_registry_but_the_base, "COPY --from=build", "COPY --from=uv"),
        (test_nothing_is_installed_without_its_hash, "--require-hashes -r requirements.lock", "x"),
        (test_nothing_is_installed_without_its_hash, "--no-build-isolation ", ""),
        (test_nothing_is_installed_without_its_hash, "install --no-deps dist", "install dist"),
        (test_signals_reach_the_worker, '["tini", "--", "whatsapp-worker"]', "whatsapp-worker"),
        (test_signals_reach_the_worker, "STOPSIGNAL SIGTERM\n", ""),
        (test_the_worker_checks_its_own_health, '"healthcheck"]', '"status"]'),
        (test_the_session_lies_where_its_volume_is, "0700 /app/session", "0700 /data"),
        (test_the_worker_needs_no_second_start, " NEONIZE_BOT_TAG=off", ""),
        (test_the_port_is_the_workers, "EXPOSE 8080", "EXPOSE 8000"),
        (test_only_what_is_built_is_sent_to_the_engine, "COPY pyproject.toml", "COPY .env"),
    ],
)
def test_a_fault_fails_the_test_that_is_for_it(
    check: Callable[[Dockerfile], None], right: str, wrong: str
) -> None:
    text = DOCKERFILE.read_text()
    assert right in text
    with pytest.raises(AssertionError):
        check(Dockerfile.parse(text.replace(right, wrong)))
