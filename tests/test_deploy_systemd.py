"""The systemd unit fits the worker; `scripts/verify systemd` shows it to systemd's own tools."""

import re
import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import pytest

from tests.support.readme import README
from tests.support.verify_steps import run_step
from whatsapp_worker.service_manager import INTERVAL
from whatsapp_worker.settings import Settings
from whatsapp_worker.settings.describe import descriptions
from whatsapp_worker.web import Heartbeat
from whatsapp_worker.whatsapp.environment import required_environment

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy/systemd/whatsapp-worker@.service"
BEFORE_AND_AFTER_DRAINING = 10
"""Seconds: to leave the consumer (5 s, DESIGN 10) and to close."""

Unit = dict[str, list[str]]
"""What is assigned, by key, in order."""


def parse(text: str) -> Unit:
    found: Unit = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def environment_of(unit: Unit) -> dict[str, str]:
    return dict(pair.split("=", 1) for line in unit["Environment"] for pair in line.split())


@pytest.fixture
def unit() -> Unit:
    return parse(UNIT.read_text())


def test_what_it_sets_are_settings(unit: Unit) -> None:
    secrets = {f"{each.name}_FILE" for each in descriptions() if each.secret}
    known = {each.name for each in descriptions()} | secrets | {"NEONIZE_BOT_TAG"}
    assert environment_of(unit).keys() <= known


def test_the_worker_needs_no_second_start(unit: Unit) -> None:
    assert required_environment(Settings()).items() <= environment_of(unit).items()


def test_the_session_is_in_the_directory_that_stays(unit: Unit) -> None:
    (state,) = unit["StateDirectory"]
    assert environment_of(unit)["WHATSAPP_SESSION_PATH"] == f"%S/{state}"
    assert state.endswith("/%i")
    assert unit["StateDirectoryMode"] == ["0700"]


def test_the_password_is_a_credential(unit: Unit) -> None:
    (credential,) = unit["LoadCredential"]
    name = credential.split(":")[0]
    assert environment_of(unit)["RABBITMQ_PASSWORD_FILE"] == f"%d/{name}"
    assert "RABBITMQ_PASSWORD" not in environment_of(unit)


def test_a_wrong_setting_is_not_tried_again(unit: Unit) -> None:
    meanings = dict(re.findall(r"^\| (\d+) \| (.*) \|$", README.read_text(), re.MULTILINE))
    hopeless = [code for code, meaning in meanings.items() if meaning.startswith("wrong ")]
    assert unit["RestartPreventExitStatus"] == [" ".join(hopeless)]
    assert unit["Restart"] == ["always"]


def test_a_send_in_flight_may_end(unit: Unit) -> None:
    (limit,) = map(int, unit["TimeoutStopSec"])
    assert limit >= Settings().drain_timeout + BEFORE_AND_AFTER_DRAINING


def test_the_watchdog_is_more_patient_than_livez(unit: Unit) -> None:
    assert unit["Type"] == ["notify"]
    (patience,) = map(int, unit["WatchdogSec"])
    silence = signature(Heartbeat).parameters["limit"].default
    assert patience >= silence + 2 * INTERVAL


def test_a_crash_leaves_no_copy_of_the_keys(unit: Unit) -> None:
    assert unit["LimitCORE"] == ["0"]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (test_what_it_sets_are_settings, "HTTP_HOST=", "HTTP_HOSTS="),
        (test_the_worker_needs_no_second_start, "BOT_TAG=off", "BOT_TAG=on"),
        (test_the_session_is_in_the_directory_that_stays, "%S/whatsapp-worker/%i", "/tmp"),
        (test_the_password_is_a_credential, "_PASSWORD_FILE=%d/", "_PASSWORD_FILE=/etc/"),
        (test_a_wrong_setting_is_not_tried_again, "ExitStatus=2 78", "ExitStatus=2"),
        (test_a_send_in_flight_may_end, "TimeoutStopSec=100", "TimeoutStopSec=85"),
        (test_the_watchdog_is_more_patient_than_livez, "WatchdogSec=30", "WatchdogSec=15"),
        (test_a_crash_leaves_no_copy_of_the_keys, "LimitCORE=0", "LimitCORE=infinity"),
    ],
)
def test_a_fault_fails_the_test_that_is_for_it(
    check: Callable[[Unit], None], right: str, wrong: str
) -> None:
    text = UNIT.read_text()
    assert right in text
    with pytest.raises(AssertionError):
        check(parse(text.replace(right, wrong)))


@pytest.mark.verify
@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("WatchdogSec=", "WatchdogSecs=", "Unknown key"),
        ("RestartSec=5", "RestartSec=soon", "Failed to parse"),
        ("SystemCallFilter=", "#", "exposure level"),
        ("CapabilityBoundingSet=", "#", "exposure level"),
    ],
)
def test_a_fault_fails_the_step_systemd(
    right: str, wrong: str, complaint: str, tmp_path: Path
) -> None:
    copy = tmp_path / UNIT.relative_to(ROOT)
    shutil.copytree(UNIT.parent, copy.parent)
    assert run_step("systemd", tmp_path).returncode == 0
    copy.write_text(copy.read_text().replace(right, wrong))
    done = run_step("systemd", tmp_path)
    assert done.returncode != 0
    assert complaint in done.stdout
