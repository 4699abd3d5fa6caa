"""The command line as a person or a script meets it, without RabbitMQ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from whatsapp_worker import __version__
from whatsapp_worker.__main__ import main
from whatsapp_worker.cli import app
from whatsapp_worker.cli.console import Commands, visible
from whatsapp_worker.errors import (
    ErrorType,
    Invalid,
    Misconfigured,
    PauseReason,
    Unavailable,
    WorkerError,
)
from whatsapp_worker.session_directory import Held

SECRET = "hunter2-secret"
COMMANDS = [
    ["run"],
    ["pair"],
    ["demo"],
    ["healthcheck"],
    ["send"],
    ["status"],
    ["check"],
    ["config"],
    ["config", "show"],
    ["config", "check"],
    ["dlq"],
    ["dlq", "list"],
    ["dlq", "show"],
    ["dlq", "replay"],
    ["dlq", "drop"],
]
GOOD = {
    "user_id": "0b7a5c1e-8f7d-4c53-9d58-0c6f3f0f2a11",
    "text_message": "Hello",
    "destination": "+5511999999999",
}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Away from the developer's .env."""
    monkeypatch.chdir(tmp_path)


def call(*arguments: str, stdin: str | bytes | None = None, **env: str) -> Result:
    """Run a command in this process; a bug in it fails the test that did not expect one."""
    return CliRunner().invoke(app, arguments, input=stdin, env=env, prog_name="whatsapp-worker")


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "whatsapp_worker", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def lines_of(*envelopes: object) -> str:
    """A file of messages."""
    return "".join(f"{json.dumps(envelope)}\n" for envelope in envelopes)


# Help and usage ----------------------------------------------------------------------------------


def test_no_command_is_missing_from_these_tests() -> None:
    groups = {group.name: group.typer_instance or app for group in app.registered_groups}
    names = [[command.name] for command in app.registered_commands]
    for name, group in groups.items():
        names += [[name], *([name, command.name] for command in group.registered_commands)]
    assert sorted(map(str, names)) == sorted(map(str, COMMANDS))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_teaches_with_examples(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples")[2]
    assert f"whatsapp-worker {command[0]}" in examples
    assert "\x1b[" not in result.stdout


def test_the_top_page_names_the_exit_codes_and_commands() -> None:
    page = call("--help").stdout
    codes = page.partition("Exit codes")[2]
    assert all(f"{code}  " in codes for code in (0, 1, 2, 69, 70, 75, 77, 78, 130))
    assert all(command[0] in page for command in COMMANDS)


def test_the_version_is_told() -> None:
    assert call("--version").stdout == f"whatsapp-worker {__version__}\n"
    assert run("--version").stdout == f"whatsapp-worker {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["--fly"],
        ["config", "fly"],
        ["send"],
        ["send", "--to", "+5511999999999"],
        ["send", "--file", "x.jsonl", "--to", "+5511999999999"],
        ["send", "--file", "missing.jsonl"],
        ["send", "--file", "."],
        ["dlq", "list", "--reason", "weather"],
        ["dlq", "list", "--older-than", "soon"],
        ["dlq", "list", "--limit", "0"],
        ["status", "--url"],
        ["pair", "--phone", "11999999999"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_explained_and_exits_with_2(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


# How commands end --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Misconfigured("ENV: is wrong"), os.EX_CONFIG, "ENV: is wrong"),
        (Unavailable(PauseReason.PUBLISHER, "it is away"), os.EX_UNAVAILABLE, "it is away"),
        (Held("another one runs"), os.EX_TEMPFAIL, "another one runs"),
        (Invalid(ErrorType.MALFORMED, "is no JSON"), 1, "malformed: is no JSON"),
        (WorkerError("something"), 1, "something"),
    ],
)
def test_expected_failures_end_with_one_line_and_their_code(
    error: WorkerError, code: int, said: str
) -> None:
    result = CliRunner().invoke(failing_with(error), [])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"{said}\n")


def test_a_bug_shows_where_it_is_without_the_values_and_exits_with_70() -> None:
    result = CliRunner().invoke(failing_with(ZeroDivisionError()), [])
    assert result.exit_code == os.EX_SOFTWARE
    assert "Traceback" in result.stderr
    assert "This is a bug in whatsapp-worker" in result.stderr
    assert SECRET not in result.output


def failing_with(error: Exception) -> typer.Typer:
    """A command line that fails, with a secret among its variables."""
    failing = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @failing.callback(invoke_without_command=True)
    def fail() -> None:
        password = SECRET
        assert password
        raise error

    return failing


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["config", "show"],
        ["config", "check"],
        ["check"],
        ["status"],
        ["send", "--to", "+5511999999999", "--text", "x"],
        ["dlq", "list"],
        ["dlq", "show"],
        ["dlq", "replay"],
        ["dlq", "drop", "--yes"],
        ["pair"],
    ],
    ids=" ".join,
)
def test_bad_settings_give_a_line_each_and_exit_78(arguments: list[str]) -> None:
    result = call(*arguments, ENV="staging", RABBITMQ_URL=f"http://{SECRET}")
    assert (result.exit_code, result.stdout) == (os.EX_CONFIG, "")
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "RABBITMQ_URL",
        "ENV",
    ]
    assert SECRET not in result.output


def test_bad_settings_end_a_real_process_in_the_same_way() -> None:
    result = run("run", RABBITMQ_PORT=SECRET)
    assert (result.returncode, result.stdout) == (os.EX_CONFIG, "")
    assert result.stderr.startswith("RABBITMQ_PORT: must be a whole number")
    assert len(result.stderr.splitlines()) == 1


def test_the_process_ends_although_threads_remain() -> None:
    code = (
        "import sys, threading\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "from whatsapp_worker.__main__ import main\n"
        "sys.argv = ['whatsapp-worker', *sys.argv[1:]]\n"
        "main()"
    )
    for argument, expected in (("--version", 0), ("fly", 2)):
        result = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, timeout=30
        )
        assert result.returncode == expected
        assert result.stdout + result.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["fly"], 2)])
def test_the_way_in_leads_to_the_command_line(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["whatsapp-worker", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code


def test_run_starts_over_once_with_the_environment_neonize_needs() -> None:
    code = (
        "import os; from whatsapp_worker.cli.daemon import _execute_with_environment as again;"
        "from whatsapp_worker.settings import load_settings;"
        "print('begun', flush=True); again(load_settings({})); print(os.environ['NEONIZE_BOT_TAG'])"
    )
    bare = {name: value for name, value in os.environ.items() if name != "NEONIZE_BOT_TAG"}
    for env, expected in (
        (bare, "begun\nbegun\noff\n"),
        ({**bare, "NEONIZE_BOT_TAG": "off"}, "begun\noff\n"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert result.stdout == expected


# config ------------------------------------------------------------------------------------------


def test_config_shows_values_and_where_they_come_from_but_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / ".env").write_text("RABBITMQ_VHOST=from-dotenv\n")
    result = call(
        "config",
        "show",
        RABBITMQ_HOST="broker",
        RABBITMQ_PASSWORD_FILE=str(tmp_path / "secret"),
        WHATSAPP_PROXY_URL=f"http://u:{SECRET}@proxy:1",
    )
    rows = [line.split(None, 2) for line in result.stdout.splitlines()]
    assert ["RABBITMQ_HOST", "broker", "environment"] in [[*map(str.strip, row)] for row in rows]
    assert "RABBITMQ_PASSWORD_FILE" in result.stdout
    assert ["RABBITMQ_VHOST", "from-dotenv", ".env"] in [[*map(str.strip, row)] for row in rows]
    assert ["RABBITMQ_PORT", "5672", "default"] in [[*map(str.strip, row)] for row in rows]
    assert SECRET not in result.output
    assert "\x1b[" not in result.output


def test_config_show_is_json_for_machines() -> None:
    shown = json.loads(call("config", "show", "--json", RABBITMQ_PASSWORD=SECRET).stdout)
    assert shown["RABBITMQ_PASSWORD"] == {"value": "********", "source": "environment"}
    assert shown["RETRY_DELAYS"] == {"value": "5s,30s,2m,10m,1h", "source": "default"}
    assert shown["RABBITMQ_TLS"]["value"] == "false"
    assert shown["RABBITMQ_URL"]["value"] == ""


def test_config_check_tells_what_is_odd() -> None:
    fine = call("config", "check")
    assert (fine.exit_code, fine.stderr) == (0, "The settings are fine.\n")
    odd = call("config", "check", RABBITMQ_PORT="tcp://10.0.0.1:5672")
    assert odd.exit_code == 0
    assert odd.stderr.startswith("warning: RABBITMQ_PORT: was set by Kubernetes")


# send --------------------------------------------------------------------------------------------


def test_a_single_message_is_checked_like_the_daemon_will() -> None:
    good = call("send", "--to", "+55 (11) 99999-9999", "--text", "I'm here", "--dry-run")
    assert (good.exit_code, good.stdout) == (0, "")
    assert good.stderr == "1 fit to be published, 0 failed.\n"
    bad = call("send", "--to", "911", "--text", "x", "--dry-run")
    assert bad.exit_code == 1
    assert bad.stderr.startswith("line 1: invalid_phone: ")


def test_a_text_may_come_from_stdin() -> None:
    arguments = ["send", "--to", "+5511999999999", "--text", "-", "--dry-run"]
    assert call(*arguments, stdin="two\nlines\n").exit_code == 0
    assert call(*arguments, stdin="\n").exit_code == 1
    assert "4096" in call(*arguments, stdin="x" * 5000).stderr


def test_a_bad_user_id_is_refused() -> None:
    result = call("send", "--to", "+5511999999999", "--text", "x", "--user-id", "me", "--dry-run")
    assert result.exit_code == 1
    assert "user_id" in result.stderr


def test_errors_in_a_file_name_the_line_and_leave_the_rest() -> None:
    bad = {**GOOD, "destination": "+1"}
    Path("messages.jsonl").write_text(lines_of(GOOD, bad) + "\n   \n{oops\n" + lines_of(GOOD))
    result = call("send", "--file", "messages.jsonl", "--dry-run", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["accepted"], report["published"], report["failed"]) == (2, 0, 2)
    assert [error["line"] for error in report["errors"]] == [2, 5]
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()[:2]] == [
        ["line 2", "invalid_phone"],
        ["line 5", "malformed"],
    ]
    assert result.stderr.splitlines()[-1] == "2 fit to be published, 2 failed."


def test_unchecked_lines_are_taken_as_they_are() -> None:
    result = call("send", "--file", "-", "--no-check", "--dry-run", stdin=b"\xff\n\n{oops\n")
    assert (result.exit_code, result.stderr) == (0, "2 fit to be published, 0 failed.\n")


def test_what_a_check_says_repeats_neither_number_nor_text() -> None:
    text = "<script>alert(1)</script> to +5511987654321"
    result = call("send", "--to", "+551198765432109876", "--text", text, "--dry-run")
    assert result.exit_code == 1
    assert "98765432" not in result.output
    assert "script>" not in result.output


def test_broker_not_there_exits_with_69_and_says_so() -> None:
    result = run("send", "--to", "+5511999999999", "--text", "x", RABBITMQ_URL="amqp://127.0.0.1:1")
    assert (result.returncode, result.stdout) == (os.EX_UNAVAILABLE, "")
    assert result.stderr.splitlines() == [
        "0 published, 0 failed.",
        "nothing answers at amqp://127.0.0.1:1/%2F: is RabbitMQ running?",
    ]


# Printing what others wrote ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 😀", "plain é 😀"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines", "two\\nlines"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b2J", "\\x9b2J"),
    ],
)
def test_control_characters_of_others_can_not_steer_the_terminal(text: str, shown: str) -> None:
    assert visible(text) == shown
