"""Every alert is about a metric that exists, has its tests, and says what to do.

Tests marked `verify` need promtool: scripts/verify runs them.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from tests.support.promql import mistakes
from whatsapp_worker.cli import app

ROOT = Path(__file__).parent.parent
PROMETHEUS = ROOT / "deploy/prometheus"
RUNBOOK = (ROOT / "docs/RUNBOOK.md").read_text()

Rule = dict[str, Any]
"""A rule, as the YAML library gives it."""

RULES: list[Rule] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
CASES: dict[str, Any] = {
    case["name"]: case
    for case in yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
}

each_alert = pytest.mark.parametrize("name", ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_only_for_what_the_worker_exports(rule: Rule) -> None:
    assert list(mistakes(rule["expr"], RECORDED)) == []


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ('queue_depht{job="whatsapp-worker"}', "no such metric"),
        ("queue_depth", "does not ask for job"),
        ('whatsapp_state{job="whatsapp-worker", stat="online"}', "has no label stat"),
        ('whatsapp_state{job="whatsapp-worker", state=~"online|paring"}', "state is never paring"),
        ('rate(worker_jobs_retried{job="whatsapp-worker"}[5m])', "no such metric"),
    ],
)
def test_a_wrong_name_in_an_expression_is_noticed(expression: str, mistake: str) -> None:
    (found,) = mistakes(expression)
    assert mistake in found


@each_alert
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/RUNBOOK.md#{name.lower()}"


@each_alert
def test_an_alert_has_a_case_that_fires_and_one_that_stays_silent(name: str) -> None:
    fires = [len(check["exp_alerts"]) for check in CASES[f"{name} fires"]["alert_rule_test"]]
    assert fires[0] == 0, "just before its time"
    assert fires[-1] > 0
    silent = CASES[f"{name} stays silent"]
    assert silent["input_series"]
    assert [check["exp_alerts"] for check in silent["alert_rule_test"]] == [[]]


def test_every_case_is_about_the_alert_it_is_named_after() -> None:
    assert len(CASES) == 2 * len(ALERTS)
    for name, case in CASES.items():
        assert {check["alertname"] for check in case["alert_rule_test"]} == {name.split()[0]}


# The runbook ------------------------------------------------------------------------------------

SECTIONS: dict[str, str] = dict(
    re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
)


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    assert list(SECTIONS) == list(ALERTS)


@each_alert
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(name: str) -> None:
    section = SECTIONS[name]
    parts = re.findall(r"^\*\*(\w+)\.\*\* \S", section, re.MULTILINE)
    assert parts == ["Means", "Look", "Do"]
    assert "```sh\n" in section


def commands() -> list[str]:
    """Every call of our own command in the examples of what operators read."""
    others = [(ROOT / name).read_text() for name in ("docs/KUBERNETES.md", "OPERATIONS.md")]
    operators = "\n".join([RUNBOOK, *others])
    shell = "\n".join(re.findall(r"^ *```sh\n(.*?)```", operators, re.DOTALL | re.MULTILINE))
    calls = re.findall(r"(?:^|-- |&& )whatsapp-worker ([a-z][^&\n]*)", shell, re.MULTILINE)
    return [call.partition(" #")[0].strip() for call in calls]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_for_operators_is_one_the_worker_takes(command: str) -> None:
    words = shlex.split(command)
    taken = typer.main.get_command(app)
    while isinstance(taken, TyperGroup):
        taken = taken.commands[words.pop(0)]
    taken.make_context(command, words)  # Reads the options, runs nothing.


# promtool ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mutation:
    """One wrong number in one alert."""

    name: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.name}: {self.right} -> {self.wrong}"


def wrong_numbers(number: str) -> list[str]:
    value = float(number)
    return ["1", "-1"] if value == 0 else [f"{value * 2:g}", f"{value / 2:g}"]


def mutations() -> Iterator[Mutation]:
    """Every threshold doubled and halved, every `for` a minute longer and shorter."""
    for name, alert in ALERTS.items():
        for compared, number in re.findall(r"([<>=]=? )([\d.]+)", alert["expr"]):
            for wrong in wrong_numbers(number):
                yield Mutation(name, f"{compared}{number}", f"{compared}{wrong}")
        if "for" in alert:
            minutes = int(alert["for"].removesuffix("m"))
            for other in (minutes - 1, minutes + 1):
                yield Mutation(name, f"for: {minutes}m", f"for: {other}m")


def promtool(rules: str, alert: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the test cases of one alert on these rules; all of them take ten times as long."""
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())
    tests["tests"] = [case for case in tests["tests"] if case["name"].split()[0] == alert]
    (directory / "rules.yml").write_text(rules)
    (directory / "rules_test.yml").write_text(yaml.safe_dump(tests))
    return subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.verify
@pytest.mark.parametrize("mutation", list(mutations()), ids=str)
def test_a_wrong_number_in_an_alert_fails_its_test(mutation: Mutation, tmp_path: Path) -> None:
    before, rule, after = re.split(
        rf"(- alert: {mutation.name}\n.*?annotations:)",
        (PROMETHEUS / "rules.yml").read_text(),
        flags=re.DOTALL,
    )
    assert mutation.right in rule
    wrong = before + rule.replace(mutation.right, mutation.wrong, 1) + after
    done = promtool(wrong, mutation.name, tmp_path)
    assert done.returncode == 1
    assert f"name: {mutation.name} " in done.stdout
