"""Where the values of settings come from, and that secrets among them are never shown."""

from pathlib import Path

import pytest

from tests.support.settings import SECRET, complaints
from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import (
    Environment,
    OnUnknown,
    QrMode,
    SenderKind,
    Settings,
    Topology,
    gather,
    load_settings,
)
from whatsapp_worker.settings.describe import descriptions, written


def test_the_names_and_defaults_of_the_seed_are_kept() -> None:
    settings = load_settings({})
    assert settings.rabbitmq_url is None
    assert settings.amqp_url.get_secret_value() == "amqp://woragis:woragis@rabbitmq:5672/woragis"
    assert settings.whatsapp_queue_name == "whatsapp.queue"
    assert settings.whatsapp_exchange == "woragis.notifications"
    assert settings.whatsapp_routing_key == "whatsapp.send"
    assert settings.whatsapp_prefetch_count == 1
    assert settings.whatsapp_session_path == Path("/app/session")
    assert settings.env is Environment.DEVELOPMENT
    assert (settings.log_to_file, settings.log_dir) == (False, Path("logs"))


def test_our_own_defaults_are_those_of_the_design() -> None:
    settings = load_settings({})
    assert settings.whatsapp_dlx == "woragis.dlx"
    assert settings.dead_letter_queue == "whatsapp.queue.failed"
    names = [settings.retry_queue(rung) for rung in settings.retry_delays]
    assert names == [f"whatsapp.queue.retry.{label}" for label in ("5s", "30s", "2m", "10m", "1h")]
    assert [rung.seconds for rung in settings.retry_delays] == [5, 30, 120, 600, 3600]
    assert settings.whatsapp_topology is Topology.DECLARE
    assert settings.on_unknown is OnUnknown.RESEND
    assert settings.whatsapp_sender is SenderKind.NEONIZE
    assert settings.whatsapp_qr is QrMode.AUTO
    assert settings.content_policy is ContentPolicy.STANDARD
    assert (settings.send_timeout, settings.drain_timeout, settings.pause_hold) == (90, 85, 300)
    assert settings.warnings == ()


def test_every_setting_is_read_from_its_environment_variable() -> None:
    env = {
        "RABBITMQ_HOST": "broker",
        "RABBITMQ_HEARTBEAT": "20s",
        "WHATSAPP_TOPOLOGY": "verify",
        "WHATSAPP_PREFETCH_COUNT": "7",
        "READY_REQUIRES_WHATSAPP": "true",
        "LOG_DIR": "/var/log/worker",
    }
    settings = load_settings(env)
    expected = ("broker", 20.0, Topology.VERIFY, 7, True, Path("/var/log/worker"))
    fields = [name.lower() for name in env]
    assert tuple(getattr(settings, field) for field in fields) == expected


def test_settings_made_by_hand_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_HOST", "elsewhere")
    assert Settings(rabbitmq_port=1).rabbitmq_host == "rabbitmq"


def test_the_process_environment_and_dotenv_are_read_when_nothing_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RABBITMQ_HOST", "from-environment")
    Path(".env").write_text("RABBITMQ_HOST=from-file\nRABBITMQ_VHOST=$from-file ${HOME}\n")
    settings = load_settings()
    assert settings.rabbitmq_host == "from-environment"
    assert settings.rabbitmq_vhost == "$from-file ${HOME}"


def test_sources_win_in_the_documented_order(tmp_path: Path) -> None:
    secret, dotenv = tmp_path / "secret", tmp_path / ".env"
    secret.write_text("from-secret-file\n")
    dotenv.write_text("RABBITMQ_PASSWORD=from-dotenv\n")
    file = {"RABBITMQ_PASSWORD_FILE": str(secret)}
    seen = []
    for env in ({"RABBITMQ_PASSWORD": "from-environment"}, file, {}):
        gathered = gather(env, dotenv)
        seen.append((gathered.values["rabbitmq_password"], gathered.origins["rabbitmq_password"]))
    assert seen == [
        ("from-environment", "environment"),
        ("from-secret-file", "environment (RABBITMQ_PASSWORD_FILE)"),
        ("from-dotenv", ".env"),
    ]


def test_a_secret_file_named_in_dotenv_counts_as_well(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / ".env").write_text(f"RABBITMQ_PASSWORD_FILE={tmp_path / 'secret'}\n")
    assert gather({}, tmp_path / ".env").values == {"rabbitmq_password": SECRET}


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("p", "p"),
        ("p\n", "p"),
        ("p\r\n", "p"),
        ("p\n\n", "p\n"),
        (" p ", " p "),
        ("pässwörd", "pässwörd"),
    ],
)
def test_a_secret_file_loses_one_trailing_newline_and_nothing_else(
    content: str, value: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content.encode())
    assert gather({"RABBITMQ_PASSWORD_FILE": str(path)}).values == {"rabbitmq_password": value}


@pytest.mark.parametrize(
    "name", ["RABBITMQ_URL", "RABBITMQ_PASSWORD", "WHATSAPP_PAIR_PHONE", "WHATSAPP_PROXY_URL"]
)
def test_every_secret_may_come_from_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    gathered = gather({f"{name}_FILE": str(tmp_path / "secret")})
    assert gathered.values == {name.lower(): SECRET}
    assert {each.name for each in descriptions() if each.secret} >= {name}


def test_only_secrets_come_from_files_because_env_file_means_something_else(tmp_path: Path) -> None:
    assert gather({"ENV_FILE": str(tmp_path / "secret")}).values == {}


def test_a_name_and_its_file_together_are_refused_naming_both() -> None:
    lines = complaints(RABBITMQ_PASSWORD=SECRET, RABBITMQ_PASSWORD_FILE="/run/secrets/x")
    assert lines == ["RABBITMQ_PASSWORD, RABBITMQ_PASSWORD_FILE: both are set; remove one of them"]


def test_unusable_secret_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path, rule in (
        (tmp_path / "missing", "can not be read (No such file or directory)"),
        (tmp_path, "can not be read (Is a directory)"),
        (tmp_path / "empty", "the file is empty"),
        (tmp_path / "binary", "is not UTF-8 text"),
    ):
        [line] = complaints(RABBITMQ_PASSWORD_FILE=str(path))
        assert line.startswith(f"RABBITMQ_PASSWORD_FILE: {rule}")


def test_a_dotenv_file_that_can_not_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"RABBITMQ_HOST=\xff\n")
    assert "can not be read" in gather({}, tmp_path / ".env").problems[0]
    assert gather({}, tmp_path / "missing").problems == []


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"RABBITMQ_URL": "", "RABBITMQ_PORT": ""}) == load_settings({})


def test_words_of_choices_may_be_written_in_any_case() -> None:
    settings = load_settings({"ENV": "Production", "LOG_LEVEL": " warning "})
    assert (settings.env, settings.log_level) == (Environment.PRODUCTION, "WARNING")


def test_some_defaults_follow_from_other_settings() -> None:
    assert load_settings({}).log_level == "DEBUG"
    assert load_settings({"ENV": "production"}).log_level == "INFO"
    assert load_settings({"RABBITMQ_TLS": "1"}).rabbitmq_port == 5671
    assert load_settings({}).whatsapp_send_interval == 1
    assert load_settings({"WHATSAPP_SENDER": "sandbox"}).whatsapp_send_interval == 0


def test_printing_settings_shows_no_secret() -> None:
    settings = load_settings(
        {
            "RABBITMQ_URL": f"amqp://u:{SECRET}@h/v",
            "RABBITMQ_PASSWORD": SECRET,
            "WHATSAPP_PAIR_PHONE": "+5511999999999",
            "WHATSAPP_PROXY_URL": f"http://u:{SECRET}@h:1",
            "SANDBOX_RULES": "",
        }
    )
    printed = f"{settings!r} {settings} {settings.amqp_url} {settings.amqp_address}"
    printed += f"{settings.warnings} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in printed
    assert "5511999999999" not in printed
    assert written(settings.rabbitmq_password) == "********"


def test_a_refusal_carries_no_secret_in_its_causes() -> None:
    with pytest.raises(Misconfigured) as refusal:
        load_settings({"RABBITMQ_URL": f"bad {SECRET}", "RABBITMQ_PORT": SECRET})
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__
    with pytest.raises(ValueError, match=r"rabbitmq_url") as by_hand:
        Settings(rabbitmq_url=f"bad {SECRET}")
    assert SECRET not in str(by_hand.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).rabbitmq_host = "other"  # type: ignore[misc]  # The point of the test.


@pytest.mark.parametrize("name", ["RABBITMQ_VHOST", "RABBITMQ_PASSWORD", "RABBITMQ_CA_FILE"])
@pytest.mark.parametrize("odd", ["\udcff", "a\0b"], ids=["not UTF-8", "NUL"])
def test_a_value_that_is_no_text_is_refused_by_name(name: str, odd: str) -> None:
    [line] = complaints(**{name: odd})
    assert line.startswith(f"{name}: must be UTF-8 text without NUL characters")


def test_a_path_with_a_nul_is_refused_by_name() -> None:
    [line] = complaints(RABBITMQ_PASSWORD_FILE="a\0b")
    assert line.startswith("RABBITMQ_PASSWORD_FILE: is no path")
