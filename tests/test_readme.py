"""What README.md tells its readers is true."""

import re

import pytest
import typer

from tests.support.readme import README, examples
from whatsapp_worker.cli import EXIT_CODES, app
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import Rules, decode

COMMANDS = typer.main.get_command(app)


def test_the_example_envelope_would_be_sent() -> None:
    (example,) = examples("json")
    envelope = decode(Delivery(example.encode()), Rules())
    assert envelope.destination == "+5511999999999"
    assert envelope.idempotency_key == "order-12-on-its-way"


def test_the_exit_codes_are_those_of_the_help() -> None:
    documented = re.findall(r"^\| (\d+) \|", README.read_text(), re.MULTILINE)
    assert documented == re.findall(r"^ *(\d+) ", EXIT_CODES, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    sorted(set(re.findall(r"whatsapp-worker ((?:dlq |config )?[a-z]+)\b", README.read_text()))),
)
def test_every_command_it_names_exists(command: str) -> None:
    words = command.split()
    found = COMMANDS
    for word in words:
        assert isinstance(found, typer.core.TyperGroup), f"{command} has no such subcommand"
        assert word in found.commands, f"whatsapp-worker {command} does not exist"
        found = found.commands[word]
