import os
import re
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from whatsapp_worker.content import ContentPolicy
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import (
    Environment,
    OnUnknown,
    QrMode,
    Rung,
    SenderKind,
    Settings,
    Topology,
    gather,
    load_settings,
    settings_env_example,
    settings_table,
)
from whatsapp_worker.settings.address import Address
from whatsapp_worker.settings.describe import descriptions, written
from whatsapp_worker.settings.values import read_ladder, read_seconds, write_seconds

ROOT = Path(__file__).parent.parent
SECRET = "hunter2-secret"

Certificates = dict[str, Path]


def complaints(**env: str) -> list[str]:
    """The lines a bad environment is refused with."""
    with pytest.raises(Misconfigured) as refusal:
        load_settings(env)
    return str(refusal.value).splitlines()


@pytest.fixture
def certificates() -> Certificates:
    """A certificate with its key, that key encrypted, and a key of somebody else."""
    directory = Path(__file__).parent / "corpus" / "tls"
    return {name: directory / f"{name}.pem" for name in ("cert", "key", "locked", "other")}


# Where values come from --------------------------------------------------------------------------


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


# The address of RabbitMQ -------------------------------------------------------------------------


def test_the_url_replaces_all_parts_and_says_so() -> None:
    settings = load_settings(
        {"RABBITMQ_URL": "amqps://u:p@broker:5699/v", "RABBITMQ_USER": "x", "RABBITMQ_HOST": "y"}
    )
    assert settings.amqp_url.get_secret_value() == "amqps://u:p@broker:5699/v"
    assert settings.warnings == (
        "RABBITMQ_USER, RABBITMQ_HOST: not used, because RABBITMQ_URL is set",
    )


@given(
    user=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1),
    password=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])),
    vhost=st.text("ab/ %:@?#&+é", min_size=1),
)
def test_whatever_the_credentials_hold_arrives_as_it_is(
    user: str, password: str, vhost: str
) -> None:
    address = Address(False, user, password, "rabbitmq", 5672, vhost)
    assert Address.parse(address.url()) == address
    url = URL(address.url())  # What aiormq makes of it.
    assert (url.user, url.password or "") == (user, password)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("amqp://h", "amqp://h:5672/%2F"),
        ("amqp://h/", "amqp://h:5672/%2F"),
        ("amqps://h/%2F", "amqps://h:5671/%2F"),
        ("amqp://h//", "amqp://h:5672/%2F"),
        ("amqp://h:1/a/b", "amqp://h:1/a%2Fb"),
        ("AMQP://u:p@[::1]:5672/v", "amqp://[::1]:5672/v"),
        ("amqp://u:p@h/v?heartbeat=5", "amqp://h:5672/v"),
    ],
)
def test_urls_are_read_as_every_amqp_client_reads_them(url: str, public: str) -> None:
    settings = load_settings({"RABBITMQ_URL": url})
    assert settings.amqp_address == public


def test_a_url_without_credentials_means_guest() -> None:
    assert Address.parse("amqp://h/v").url() == "amqp://guest:guest@h:5672/v"


def test_an_unescaped_at_sign_or_per_cent_in_a_password_is_forgiven() -> None:
    assert Address.parse("amqp://u:p@ss%x@h/v") == Address(False, "u", "p@ss%x", "h", 5672, "v")


def test_options_in_the_url_are_kept() -> None:
    settings = load_settings({"RABBITMQ_URL": "amqp://u:p@h/v?frame_max=4096"})
    assert settings.amqp_url.get_secret_value() == "amqp://u:p@h:5672/v?frame_max=4096"


@pytest.mark.parametrize(
    ("vhost", "part"),
    [("woragis", "woragis"), ("/woragis", "woragis"), ("/", "%2F"), ("a/b", "a%2Fb")],
)
def test_the_virtual_host_loses_one_leading_slash_as_in_the_go_worker(
    vhost: str, part: str
) -> None:
    assert load_settings({"RABBITMQ_VHOST": vhost}).amqp_address.endswith(f":5672/{part}")


@pytest.mark.parametrize(
    "url",
    [
        f"http://{SECRET}@h",
        SECRET,
        f"amqp://:{SECRET}@/v",
        f"amqp://u:{SECRET}@h:port/v",
        f"amqp://u:{SECRET}#@h/v",
        f"amqp://u:{SECRET} @h/v",
        f"amqp://u:{SECRET}/@h/v",
        f"amqp://[{SECRET}",
        f"amqp://u:{SECRET}@h:99999/v",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    [line] = complaints(RABBITMQ_URL=url)
    assert line.startswith("RABBITMQ_URL: ")
    assert SECRET not in line


def test_the_port_of_a_kubernetes_service_link_is_understood_with_a_warning() -> None:
    settings = load_settings({"RABBITMQ_PORT": "tcp://10.0.0.1:5673"})
    assert settings.amqp_address == "amqp://rabbitmq:5673/woragis"
    [warning] = settings.warnings
    assert warning.startswith("RABBITMQ_PORT: was set by Kubernetes")


@pytest.mark.parametrize(
    "port", ["tcp://10.0.0.1", "tcp://10.0.0.1:x", "tcp://", "x", "0", "65536"]
)
def test_other_ports_are_refused(port: str) -> None:
    [line] = complaints(RABBITMQ_PORT=port)
    assert line.startswith("RABBITMQ_PORT: must be a whole number from 1 to 65535")


# TLS ---------------------------------------------------------------------------------------------


def test_without_tls_there_is_no_context() -> None:
    assert load_settings({}).ssl_context() is None


def test_a_fresh_verifying_context_is_made_for_each_connection(certificates: Certificates) -> None:
    settings = load_settings(
        {
            "RABBITMQ_TLS": "true",
            "RABBITMQ_CA_FILE": str(certificates["cert"]),
            "RABBITMQ_CERT_FILE": str(certificates["cert"]),
            "RABBITMQ_KEY_FILE": str(certificates["key"]),
        }
    )
    first, second = settings.ssl_context(), settings.ssl_context()
    assert first is not None
    assert first is not second
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(first.get_ca_certs()) == 1
    assert settings.amqp_address == "amqps://rabbitmq:5671/woragis"


def test_an_amqps_url_is_enough_for_tls() -> None:
    assert load_settings({"RABBITMQ_URL": "amqps://h"}).ssl_context() is not None


def test_tls_that_would_silently_not_happen_is_refused(certificates: Certificates) -> None:
    assert complaints(RABBITMQ_TLS="true", RABBITMQ_URL="amqp://h") == [
        "RABBITMQ_TLS: is on, but RABBITMQ_URL says amqp://; write amqps:// there"
    ]
    [line] = complaints(RABBITMQ_CA_FILE=str(certificates["cert"]))
    assert line.startswith("RABBITMQ_CA_FILE: has no effect without TLS")


@pytest.mark.parametrize(
    ("cert", "key", "rule"),
    [
        ("cert", None, "need each other"),
        (None, "key", "need each other"),
        ("cert", "other", "check that they belong together"),
        ("cert", "locked", "the private key is encrypted"),
        ("key", "key", "no usable certificate"),
        ("missing", "key", "can not be read"),
    ],
)
def test_a_client_certificate_and_its_key_come_together(
    cert: str | None, key: str | None, rule: str, certificates: Certificates
) -> None:
    given = {"RABBITMQ_CERT_FILE": cert, "RABBITMQ_KEY_FILE": key}
    paths = {
        name: str(certificates.get(file, Path("/missing"))) for name, file in given.items() if file
    }
    [line] = complaints(RABBITMQ_TLS="true", **paths)
    assert line.startswith("RABBITMQ_CERT_FILE, RABBITMQ_KEY_FILE: ")
    assert rule in line


def test_a_ca_file_has_to_hold_certificates(certificates: Certificates, tmp_path: Path) -> None:
    for path in (certificates["key"], tmp_path, tmp_path / "missing"):
        [line] = complaints(RABBITMQ_TLS="true", RABBITMQ_CA_FILE=str(path))
        assert line.startswith("RABBITMQ_CA_FILE: ")


# Values ------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("env", "begin"),
    [
        ({"WHATSAPP_SENDER": "sandbox"}, "WHATSAPP_SENDER: is sandbox"),
        ({"DRAIN_TIMEOUT": "10s"}, "DRAIN_TIMEOUT: below 80s"),
        ({"WHATSAPP_SEND_INTERVAL": "0"}, "WHATSAPP_SEND_INTERVAL: is 0"),
        ({"SANDBOX_RULES": "{}"}, "SANDBOX_RULES: not used"),
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


# Secrets -----------------------------------------------------------------------------------------


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


# Documents ---------------------------------------------------------------------------------------


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
    if marked is not None:  # No marks, no table; the document's own tests want them there.
        assert marked[1].strip() == settings_table().strip(), "run: python scripts/write_docs.py"
    table = settings_table()
    assert all(f"| `{each.name}` |" in table for each in descriptions())
