"""What values settings take, and how they are described."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.settings import SECRET, complaints
from whatsapp_worker.settings import (
    Failpoint,
    Rung,
    Settings,
    gather,
    load_settings,
    settings_env_example,
    settings_table,
)
from whatsapp_worker.settings.describe import descriptions
from whatsapp_worker.settings.values import read_ladder, read_seconds, write_seconds

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5", 1.5),
        ("2m", 120),
        ("1h", 3600),
        ("250ms", 0.25),
        (" 2 M ", 120),
    ],
)
def test_durations_are_seconds_or_say_their_unit(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1d", "1m30s", "1e3", "nan", "inf", "٣s", "1,5"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="must be seconds"):
        read_seconds(text)


@given(st.integers(0, 10**9))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    assert read_seconds(write_seconds(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


def test_rungs_are_named_by_their_delay_however_it_was_written() -> None:
    expected = (Rung("1m", 60), Rung("90s", 90), Rung("1h", 3600))
    assert read_ladder("60, 90s , 60m") == expected
    assert read_ladder("1m,1.5m,3600s") == expected
    assert read_ladder("50ms,2s") == (Rung("50ms", 0.05), Rung("2s", 2))


@pytest.mark.parametrize(
    "delays",
    [",", "5s,", "5s,5s", "30s,5s", "5s,5", "0s", "1ms", "25h", "soon", "1,2,3,4,5,6,7,8,9,10,11"],
)
def test_a_ladder_that_does_not_climb_within_bounds_is_refused(delays: str) -> None:
    [line] = complaints(RETRY_DELAYS=delays)
    assert line.startswith("RETRY_DELAYS: ")


def test_the_ladder_may_also_be_given_as_rungs() -> None:
    assert Settings(retry_delays=(Rung("1s", 1),)).retry_delays == (Rung("1s", 1),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHATSAPP_PREFETCH_COUNT", "0"),
        ("WHATSAPP_PREFETCH_COUNT", "1001"),
        ("WHATSAPP_PREFETCH_COUNT", "1.5"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_MESSAGE_BYTES", "1"),
        ("SEND_TIMEOUT", "79s"),
        ("SEND_TIMEOUT", "11m"),
        ("WHATSAPP_SEND_INTERVAL", "-1"),
        ("RABBITMQ_HEARTBEAT", "0"),
        ("HTTP_PORT", "65536"),
        ("LEDGER_RETENTION_DAYS", "0"),
        ("PAUSE_HOLD", "30m"),
        ("DRAIN_TIMEOUT", "0"),
        ("WHATSAPP_QUEUE_NAME", "amq.mine"),
        ("WHATSAPP_QUEUE_NAME", "q" * 201),
        ("WHATSAPP_EXCHANGE", " "),
        ("WHATSAPP_DLX", "a\nb"),
        ("WHATSAPP_TOPOLOGY", "skip"),
        ("ENV", "staging"),
        ("FAILPOINT", "anywhere"),
        ("LOG_TO_FILE", "perhaps"),
        ("WHATSAPP_PAIR_PHONE", "11999999999"),
        ("WHATSAPP_PROXY_URL", f"ftp://{SECRET}:1"),
        ("WHATSAPP_PROXY_URL", "socks5://host"),
        ("WHATSAPP_PROXY_URL", "http://host:port"),
    ],
)
def test_a_bad_value_gives_one_line_with_name_and_rule_but_never_the_value(
    name: str, value: str
) -> None:
    [line] = complaints(**{name: value})
    assert line.startswith(f"{name}: ")
    rule = line.removeprefix(f"{name}: ").partition("(default")[0]
    if len(value) > 3 and not value.startswith("amq."):
        assert value not in rule


def test_all_bad_settings_are_told_at_once() -> None:
    lines = complaints(
        RABBITMQ_PORT="x",
        ENV="x",
        SEND_TIMEOUT="x",
        RABBITMQ_PASSWORD="a",
        RABBITMQ_PASSWORD_FILE="/b",
    )
    assert [re.split("[:,]", line)[0] for line in lines] == [
        "RABBITMQ_PASSWORD",
        "RABBITMQ_PORT",
        "SEND_TIMEOUT",
        "ENV",
    ]


def test_a_good_phone_and_proxy_are_taken() -> None:
    env = {
        "WHATSAPP_PAIR_PHONE": "+55 (11) 99999-9999",
        "WHATSAPP_PROXY_URL": "socks5://u:p@h:1080",
    }
    settings = load_settings(env)
    assert settings.whatsapp_pair_phone is not None
    assert settings.whatsapp_proxy_url is not None


def test_the_send_limit_may_be_short_only_in_the_sandbox() -> None:
    settings = load_settings({"WHATSAPP_SENDER": "sandbox", "SEND_TIMEOUT": "100ms"})
    assert settings.send_timeout == 0.1
    assert complaints(SEND_TIMEOUT="10s") == [
        "SEND_TIMEOUT: must be at least 80s, because WhatsApp may answer for 75s (default: 90s)"
    ]


def test_the_ledger_remembers_longer_than_retries_take() -> None:
    slow = {"RETRY_DELAYS": "12h", "MAX_ATTEMPTS": "3"}
    assert load_settings({**slow, "LEDGER_RETENTION_DAYS": "2"}).ledger_retention_days == 2
    [line] = complaints(**slow, LEDGER_RETENTION_DAYS="1")
    assert line.startswith("LEDGER_RETENTION_DAYS: must cover RETRY_DELAYS")


def test_a_pairing_phone_is_refused_in_the_sandbox() -> None:
    [line] = complaints(WHATSAPP_SENDER="sandbox", WHATSAPP_PAIR_PHONE="+5511999999999")
    assert line.startswith("WHATSAPP_PAIR_PHONE: has no use")


@pytest.mark.parametrize("written", ["taken", " Taken "])
def test_a_failpoint_is_one_of_few_and_refused_in_production(written: str) -> None:
    assert load_settings({"FAILPOINT": written}).failpoint is Failpoint.TAKEN
    assert complaints(FAILPOINT=written, ENV="production") == [
        "FAILPOINT: kills the worker on purpose, never with ENV=production; remove it"
    ]
    [line] = complaints(FAILPOINT="elsewhere")
    assert line == "FAILPOINT: must be one of " + ", ".join(Failpoint)


def test_production_without_a_failpoint_is_fine() -> None:
    assert load_settings({"FAILPOINT": "", "ENV": "production"}).failpoint is None


@pytest.mark.parametrize(
    ("env", "begin"),
    [
        ({"WHATSAPP_SENDER": "sandbox"}, "WHATSAPP_SENDER: is sandbox"),
        ({"DRAIN_TIMEOUT": "10s"}, "DRAIN_TIMEOUT: below 80s"),
        ({"WHATSAPP_SEND_INTERVAL": "0"}, "WHATSAPP_SEND_INTERVAL: is 0"),
        ({"SANDBOX_RULES": "{}"}, "SANDBOX_RULES: not used"),
        ({"FAILPOINT": "taken"}, "FAILPOINT: is taken, so the worker kills itself"),
        ({"RABBITMQ_PASS": "x"}, "RABBITMQ_PASS: no such setting, did you mean RABBITMQ_PASSWORD"),
        ({"WHATSAPP_EXCHANGES": "x"}, "WHATSAPP_EXCHANGES: no such setting"),
    ],
)
def test_what_is_allowed_but_odd_gives_a_warning(env: dict[str, str], begin: str) -> None:
    [warning] = load_settings(env).warnings
    assert warning.startswith(begin)


def test_what_kubernetes_sets_for_services_gives_no_warning() -> None:
    link = "tcp://10.0.0.1:5672"
    env = {
        "RABBITMQ_SERVICE_HOST": "10.0.0.1",
        "RABBITMQ_SERVICE_PORT": "5672",
        "RABBITMQ_PORT_5672_TCP": link,
        "RABBITMQ_PORT_5672_TCP_PORT": "5672",
        "RABBITMQ_PORT_5672_TCP_PROTO": "tcp",
        "RABBITMQ_PORT_5672_TCP_ADDR": "10.0.0.1",
        "WHATSAPP_WORKER_SERVICE_HOST": "10.0.0.2",
        "WHATSAPP_WORKER_PORT": "tcp://10.0.0.2:8080",
        "PATH": os.environ["PATH"],
        "HOSTNAME": "whatsapp-worker-0",
    }
    assert load_settings(env).warnings == ()


def test_every_setting_is_described() -> None:
    for each in descriptions():
        assert each.group
        assert each.meaning
        assert not each.meaning.endswith(".")


def test_every_default_is_written_as_it_may_be_set() -> None:
    defaults = {
        each.name: each.default
        for each in descriptions()
        if each.default and " " not in each.default
    }
    loaded, plain = load_settings(defaults), load_settings({})
    assert {each.field: getattr(loaded, each.field) for each in descriptions()} == {
        each.field: getattr(plain, each.field) for each in descriptions()
    }


def test_the_example_file_is_the_one_the_model_makes() -> None:
    text = (ROOT / ".env.example").read_text()
    assert text == settings_env_example(), "run: python scripts/write_docs.py"


def test_the_example_file_changes_nothing_when_all_of_it_is_switched_on(tmp_path: Path) -> None:
    switched_on = re.sub(r"^#([A-Z_]+=)", r"\1", settings_env_example(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(switched_on)
    gathered = gather({}, tmp_path / ".env")
    assert not gathered.problems
    assert gathered.values["retry_delays"] == "5s,30s,2m,10m,1h"


def test_the_readme_table_is_the_one_the_model_makes() -> None:
    readme = (ROOT / "README.md").read_text()
    marked = re.search(r"<!-- settings:begin.*?-->\n(.*?)<!-- settings:end -->", readme, re.DOTALL)
    assert marked is not None
    assert marked[1].strip() == settings_table().strip(), "run: python scripts/write_docs.py"
    table = settings_table()
    assert all(f"| `{each.name}` |" in table for each in descriptions())
