"""Any environment becomes settings within their bounds, or complaints that name each setting."""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner
from yarl import URL

from tests.fuzz.drawing import examples, spoilt
from whatsapp_worker.cli import app, config
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings import Settings, gather, load_settings
from whatsapp_worker.settings.describe import Description, descriptions, written
from whatsapp_worker.settings.sources import settings_from

SECRET = "tok-5ec4e7"
EVERY = {each.name: each for each in descriptions()}
PLAIN = [each for each in EVERY.values() if not each.secret]
SECRETS = [each for each in EVERY.values() if each.secret]
FILES = [f"{each.name}_FILE" for each in SECRETS]
LINE = re.compile(r"([A-Z_]+(?:, [A-Z_]+)*): \S.*")
"""A complaint: the settings it is about, then what to do."""


# What is drawn -----------------------------------------------------------------------------------

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
"""What an environment can hold, apart from bytes that are not UTF-8."""
ODD = st.sampled_from(
    [
        " ",
        "0",
        "-1",
        "1e3",
        "nan",
        "inf",
        "9" * 400,
        "9" * 5000,
        "٣",
        "\udcff",
        "\u202e",
        "\x1b[2J",
        "a\nb",
        "/",
        "//",
        "~",
        "tcp://10.0.0.1:1",
        "tcp://",
        "x" * 300,
        "é" * 200,
        "amq.x",
        "1_0",
    ]
)
NEAR: dict[str, list[str]] = {
    "RETRY_DELAYS": ["5s,30s", "5s", "10ms,1h", "1,2,3", "1s,1.0004s", "0.0004s", "24h", "1d"],
    "SEND_TIMEOUT": ["90", "80s", "0", "0.0001", "0.0001ms", "600.0001", "10m", "79999ms"],
    "RABBITMQ_HOST": ["rabbitmq", "::1", "[::1]", "10.0.0.1", "a:5672", "a/b", "u@h", "a b", "é.x"],
    "RABBITMQ_VHOST": ["/", "//", "a/b", "%2F", "a?b#c@d"],
    "RABBITMQ_PORT": ["5672", "tcp://10.0.0.1:5672", "tcp://h", "tcp://h:0", "tcp://h:x", "65536"],
    "RABBITMQ_TLS": ["true", "1", "off", "maybe"],
    "RABBITMQ_CERT_FILE": ["/nowhere", "."],
    "RABBITMQ_CA_FILE": ["/nowhere", "."],
    "WHATSAPP_SENDER": ["sandbox", " SANDBOX ", "neonize"],
    "LEDGER_RETENTION_DAYS": ["1", "3650"],
    "MAX_ATTEMPTS": ["1", "100", "+5", "5.0"],
}  # fmt: skip


def usual(setting: Description) -> list[str]:
    """What is right for a setting, or nearly."""
    kind = setting.kind
    if kind.startswith("one of "):
        values = kind.removeprefix("one of ").split(", ")
        return [*values, values[0].upper(), f" {values[0]} ", f"{values[0]}x"]
    if kind == "true or false":
        return ["true", "false", "1", "OFF", "y", "2"]
    if match := re.search(r"(?:from|above) (\S+) to (\S+)$", kind):
        least, most = match.groups()
        number = setting.default if "," not in setting.default else least
        return [least, most, number or least, f"{most}0", f"-{most}", f" {least}", f"{least}.0"]
    return [setting.default or "x", "a b", "a\tb"]


def value_of(setting: Description) -> st.SearchStrategy[str]:
    likely = st.sampled_from(NEAR.get(setting.name, []) + usual(setting))
    return st.one_of(likely, likely, ODD, st.text(CHARACTERS, max_size=12))


URLS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["amqp://", "amqp://", "amqps://", "AMQP://", "http://", "//", ""]),
        st.sampled_from(["u:", "u:", ":", "u%40:", "é:", "u"]),
        st.sampled_from(["", "p@ss", "/", "1/", "1?", "#", "%2F", "[", "%", "%FF", " ", "é", "\\"]),
        st.just(SECRET),
        st.sampled_from(["@", "@", "@", "/@", "?@", ":1@"]),
        st.sampled_from(["h", "h", "[::1]", "h.x", "h:1", "h:0", "h:x", "h:65536", "", "[", "é"]),
        st.sampled_from(["", "/", "/v", "//", "/%2F", "/a/b", "/v?heartbeat=5", "/v@w", "/v#"]),
    ),
)  # fmt: skip
OTHER_SECRETS = {
    "RABBITMQ_URL": URLS,
    "RABBITMQ_PASSWORD": st.sampled_from([SECRET, f"/{SECRET}@", f"{SECRET}\udcff", f" {SECRET}"]),
    "WHATSAPP_PROXY_URL": st.sampled_from(
        [f"socks5://u:{SECRET}@h:1", f"http://{SECRET}", f"socks5://u:1/{SECRET}@h:1", SECRET]
    ),
    "WHATSAPP_PAIR_PHONE": st.sampled_from(["+1 (555) 010-0999", SECRET, f"+{SECRET}"]),
}


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    names = draw(
        st.lists(st.sampled_from([*PLAIN, *SECRETS]), max_size=4, unique_by=lambda e: e.name)
    )
    env = {
        each.name: draw(OTHER_SECRETS[each.name] if each.secret else value_of(each))
        for each in names
    }
    if draw(st.integers(0, 4)) == 0:
        secret = draw(st.sampled_from(SECRETS)).name
        env[f"{secret}_FILE"] = draw(st.sampled_from(["/nowhere", ".", "", "x" * 5000, __file__]))
    return env  # fmt: skip


# What has to hold --------------------------------------------------------------------------------


def judged(env: dict[str, str]) -> Settings | list[str]:
    """The settings, or the complaints; anything else that is raised goes on to the test."""
    try:
        return load_settings(env)
    except Misconfigured as error:
        assert error.__suppress_context__  # noqa: PT017  Both ends are right.
        return str(error).splitlines()


def check_complaints(lines: list[str], env: dict[str, str]) -> None:
    assert lines
    for line in lines:
        match = LINE.fullmatch(line)
        assert match, line
        named = match[1].split(", ")
        assert all(name in EVERY or name.removesuffix("_FILE") in EVERY for name in named)
        assert any(name.removesuffix("_FILE") in line for name in env)
        assert SECRET not in line
        assert line.isprintable()
        assert len(line) < 500


def check_bounds(settings: Settings) -> None:
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        for rule in field.metadata:
            assert getattr(rule, "ge", None) is None or value >= rule.ge
            assert getattr(rule, "gt", None) is None or value > rule.gt
            assert getattr(rule, "le", None) is None or value <= rule.le
    delays = [rung.seconds for rung in settings.retry_delays]
    assert 1 <= len(delays) <= 10
    assert delays == sorted(set(delays))
    assert 0.01 <= delays[0] <= delays[-1] <= 24 * 3600
    for name in (settings.dead_letter_queue, *map(settings.retry_queue, settings.retry_delays)):
        assert len(name.encode()) <= 255
    assert len(settings.whatsapp_routing_key.encode()) <= 255


def check_address(settings: Settings) -> None:
    """The address says to aiormq, which reads it by yarl, what it says to us."""
    url = URL(settings.amqp_url.get_secret_value())
    ours = settings._address
    assert (url.user or "", url.password or "") == (ours.user, ours.password)
    # The case of a host's name says nothing (RFC 4343), and yarl drops it.
    assert (url.host, url.port) == (ours.host.lower(), ours.port)


def shown(settings: Settings) -> str:
    """Every way of looking at settings."""
    rows = [
        (each, written(getattr(settings, each.field)), "environment") for each in EVERY.values()
    ]
    out = io.StringIO()
    Console(soft_wrap=True, file=out).print(config._table(rows))
    views = (settings, settings.model_dump(), settings.amqp_address, settings.warnings, rows)
    return f"{views!r} {settings} {settings.model_dump_json()} {out.getvalue()}"


@examples(250)
@given(environments())
@example({"RABBITMQ_URL": f"amqp://u:/{SECRET}@h/v"})
@example({"RABBITMQ_URL": f"amqp://u:1/{SECRET}@h/v"})
@example({"RABBITMQ_URL": f"amqp://u:1?{SECRET}@h/v"})
@example({"RABBITMQ_VHOST": "\udcff"})
@example({"RABBITMQ_USER": "\udcff"})
@example({"RABBITMQ_PASSWORD": f"{SECRET}\udcff"})
@example({"RABBITMQ_HOST": "rabbitmq:5672"})
@example({"RABBITMQ_HOST": "RabbitMQ"})
def test_any_environment_becomes_settings_in_their_bounds_or_complaints_by_name(
    env: dict[str, str],
) -> None:
    settings = judged(env)
    if isinstance(settings, list):
        check_complaints(settings, env)
        assert judged(env) == settings
        return
    check_bounds(settings)
    check_address(settings)
    assert SECRET not in shown(settings)
    check_round_trip(settings)


def check_round_trip(settings: Settings) -> None:
    """What `config show` says, given again, makes the same settings."""
    if settings.send_timeout < 0.001:  # The sandbox takes it; shown are whole milliseconds.
        return
    values = {each: written(getattr(settings, each.field)) for each in PLAIN}
    secrets = {each: getattr(settings, each.field) for each in SECRETS}
    env = {each.name: value for each, value in values.items() if value}
    env |= {each.name: secret.get_secret_value() for each, secret in secrets.items() if secret}
    again = judged(env)
    assert isinstance(again, Settings), again
    assert {each: written(getattr(again, each.field)) for each in PLAIN} == values


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory without a .env."""
    with contextlib.chdir(path := tmp_path_factory.mktemp("settings")):
        yield path


@examples(40)
@given(environments())
def test_config_show_ends_with_json_or_with_one_of_two_codes(
    elsewhere: Path, env: dict[str, str]
) -> None:
    env = {name: value for name, value in env.items() if not value.count("\0")}
    done = CliRunner().invoke(app, ["config", "show", "--json"], env=env)
    assert SECRET not in done.output
    assert "Traceback" not in done.output
    assert done.exit_code in {0, 78}
    if done.exit_code == 0:
        assert json.loads(done.stdout).keys() == EVERY.keys()


DOTENV = st.builds(
    lambda pairs: b"\n".join(name.encode() + b"=" + value for name, value in pairs),
    st.lists(st.tuples(st.sampled_from(list(EVERY)), st.binary(max_size=8)), max_size=3),
)


@examples(100)
@given(DOTENV | spoilt(st.just(f"RABBITMQ_PASSWORD='{SECRET}'\nLOG_DIR=\"a\"\n".encode())))
@example(b"RABBITMQ_PASSWORD_FILE=a\0b")
@example(b"RABBITMQ_CA_FILE=a\0b\nRABBITMQ_TLS=1")
def test_any_dotenv_becomes_settings_or_complaints(elsewhere: Path, content: bytes) -> None:
    path = elsewhere / "dotenv"
    path.write_bytes(content)
    try:
        assert SECRET not in shown(settings_from(gather({}, path)))
    except Misconfigured as error:
        lines = str(error).splitlines()
        assert lines
        assert SECRET not in str(error)  # noqa: PT017  Both ends are right.
        if not lines[0].startswith(str(path)):
            check_complaints(lines, dict.fromkeys([*EVERY, *FILES], ""))
