"""contracts/ says what the worker takes and gives, and other people's tools can read it."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support.logs import OUTCOMES, TRACE, logging_to, record, written
from tests.test_amqp_copies import EVERYTHING, KEPT, all_copies, origin
from tests.test_health import WELL
from whatsapp_worker import logs
from whatsapp_worker.amqp.copies import traced
from whatsapp_worker.amqp.topology import go_arguments
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.envelope import Rules, decode
from whatsapp_worker.errors import ErrorType, Invalid
from whatsapp_worker.outcome import Record, Reject
from whatsapp_worker.settings import Settings
from whatsapp_worker.web.health import healthz, livez, readyz

ROOT = Path(__file__).parent.parent
CONTRACTS = ROOT / "contracts"
EXAMPLES = CONTRACTS / "examples"
SCHEMAS = sorted(path.name.removesuffix(".schema.json") for path in CONTRACTS.glob("*.schema.json"))
ASYNCAPI: dict[str, Any] = yaml.safe_load((CONTRACTS / "asyncapi.yaml").read_text())
OUTCOMES_LOGGED = {"sent", "duplicate", "retry", "dead_letter", "reject"}
MESSAGES: dict[str, Any] = ASYNCAPI["components"]["messages"]


def definition(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CONTRACTS / f"{name}.schema.json").read_text())
    return read


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(definition(name))


def examples(folder: str) -> list[Any]:
    """The paths of a folder's examples, as parameters with readable names."""
    return [
        pytest.param(path, id=f"{folder}/{path.stem}")
        for path in sorted((EXAMPLES / folder).glob("*.json"))
    ]


# The files -------------------------------------------------------------------------------------


def write_contracts(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/write_contracts.py", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_schemas_are_what_the_code_makes_of_them_byte_by_byte() -> None:
    done = write_contracts(ROOT, "--check")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what the schemas are made from, to break."""
    for name in ("contracts", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules"))
    for name in ("LOGGING.md", "HEALTH_CHECK.md"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_a_schema_edited_by_hand_is_noticed(copied: Path) -> None:
    file = copied / "contracts" / "envelope.schema.json"
    file.write_text(file.read_text().replace('"maxLength": 4096', '"maxLength": 4095'))
    done = write_contracts(copied, "--check")
    assert (done.returncode, done.stderr) == (
        1,
        "contracts/envelope.schema.json is out of date: run `make docs`\n",
    )
    assert write_contracts(copied).returncode == 0
    assert write_contracts(copied, "--check").returncode == 0


def test_a_log_field_that_its_document_forgets_is_noticed(copied: Path) -> None:
    document = copied / "LOGGING.md"
    document.write_text(
        re.sub(r"^\| `whatsapp_id`.*\n", "", document.read_text(), flags=re.MULTILINE)
    )
    done = write_contracts(copied, "--check")
    assert (done.returncode, "log-line.schema.json" in done.stderr) == (1, True)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_one_and_has_an_example(name: str) -> None:
    Draft202012Validator.check_schema(definition(name))
    assert examples(name)


# The envelope ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for name in SCHEMAS for path in examples(name)])
def test_every_example_fits_its_schema(path: Path) -> None:
    schema(path.parent.name).validate(json.loads(path.read_text()))


@pytest.mark.parametrize("path", examples("envelope"))
def test_the_worker_takes_the_examples_of_the_envelope(path: Path) -> None:
    envelope = decode(Delivery(path.read_bytes()), Rules())
    assert (str(envelope.user_id)[:8], envelope.destination) == ("550e8400", "+15550100999")


@pytest.mark.parametrize(
    "path",
    [*examples("envelope/refused"), *examples("envelope/refused-by-the-worker")],
)
def test_the_worker_refuses_an_example_for_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(Invalid) as failure:
        decode(Delivery(path.read_bytes()), Rules())
    assert failure.value.error_type == ErrorType(path.stem.partition(".")[0])


@pytest.mark.parametrize("path", examples("envelope/refused"))
def test_the_schema_refuses_them_too(path: Path) -> None:
    assert not schema("envelope").is_valid(json.loads(path.read_text()))


@pytest.mark.parametrize("path", examples("envelope/refused-by-the-worker"))
def test_the_schema_cannot_say_everything(path: Path) -> None:
    schema("envelope").validate(json.loads(path.read_text()))


ENVELOPE_SCHEMA = schema("envelope")
NUMBERS = st.text("+0123456789 .-()\u00a0\u2010\u2011\t\n", min_size=8, max_size=66)


@given(
    user=st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper()),
    text=st.text(max_size=20) | st.sampled_from(["ü" * 4096, "\U0001f600" * 4096, "a\r\nb"]),
    number=st.just("+15550100999") | NUMBERS.map(lambda rest: f"+1{rest}"),
    key=st.none() | st.text(max_size=256),
)
def test_the_schema_never_refuses_what_the_worker_takes(
    user: str, text: str, number: str, key: str | None
) -> None:
    fields = {
        "user_id": user, "text_message": text, "destination": number, "idempotency_key": key
    }  # fmt: skip
    try:
        decode(Delivery(json.dumps(fields).encode()), Rules())
    except Invalid:
        return
    ENVELOPE_SCHEMA.validate(fields)


def test_the_longest_and_the_shortest_fit_both() -> None:
    for number in ("+15550100", "+155501009990000", "+1 (555) 010\u201100.99"):
        fields = {"user_id": str(UUID(int=1)), "text_message": "x" * 4096, "destination": number}
        decode(Delivery(json.dumps(fields).encode()), Rules())
        ENVELOPE_SCHEMA.validate(fields)


# Copies ----------------------------------------------------------------------------------------


def test_the_headers_of_every_copy_are_described_and_no_others() -> None:
    error = Invalid(ErrorType.MALFORMED, "not JSON")
    for source in (origin(**EVERYTHING), origin()):
        retry, dead, reject, _replay = (
            traced(copy, TRACE).headers or {} for copy in all_copies(source, error)
        )
        schema("retry-headers").validate(retry)
        for headers in (dead, reject):
            schema("dead-letter-headers").validate(headers)
        assert set(retry) == set(definition("retry-headers")["properties"])
        assert set(dead) == set(definition("dead-letter-headers")["properties"])


def test_the_properties_that_copies_keep_are_listed() -> None:
    listed = MESSAGES["deadLetter"]["x-amqp-properties"]["properties"].keys()
    kept = {"type" if name == "message_type" else name for name in KEPT}
    assert listed == kept - {"delivery_mode"}


# Log lines and health --------------------------------------------------------------------------


def lines() -> list[dict[str, Any]]:
    with logging_to(io.StringIO()) as stream:
        for outcome, *_ in OUTCOMES.values():
            logs.observe(record(outcome))
        invalid = Reject(Invalid(ErrorType.MALFORMED, "not JSON"))
        logs.observe(Record(Delivery(b"{", trace_id=TRACE), invalid, 0.1))
    return written(stream)


def test_the_lines_of_all_outcomes_fit_and_others_do_not() -> None:
    line_schema = schema("log-line")
    for line in lines():
        line_schema.validate(line)
        assert not line_schema.is_valid({**line, "text_message": "Hello"})
        assert not line_schema.is_valid({**line, "outcome": "lost"})
        assert not line_schema.is_valid({**line, "rabbitmq": "amqp://rabbitmq"})
        for name in definition("log-line")["required"]:
            assert not line_schema.is_valid({k: v for k, v in line.items() if k != name}), name


def test_an_answer_of_every_endpoint_fits() -> None:
    answers = [livez(WELL), readyz(WELL), healthz(None, "online"), healthz("away", "pairing")]
    for answer in answers:
        body = json.loads(json.dumps(answer.body))
        schema("health").validate(body)
        other = "unhealthy" if answer.healthy else "healthy"
        assert not schema("health").is_valid({**body, "status": other})


# AsyncAPI --------------------------------------------------------------------------------------


def test_the_asyncapi_document_has_the_names_the_worker_has_by_default() -> None:
    settings = Settings()
    channels = ASYNCAPI["channels"]
    address, dead = channels["messages"], channels["deadLetters"]
    exchange = address["bindings"]["amqp"]["exchange"]
    assert address["address"] == settings.whatsapp_routing_key
    assert (exchange["name"], exchange["vhost"]) == (settings.whatsapp_exchange, "woragis")
    assert dead["address"] == go_arguments(settings)["x-dead-letter-routing-key"]
    assert dead["bindings"]["amqp"]["queue"]["name"] == settings.dead_letter_queue
    delays = channels["retries"]["parameters"]["delay"]["enum"]
    addresses = [channels["retries"]["address"].format(delay=delay) for delay in delays]
    assert addresses == [settings.retry_queue(rung) for rung in settings.retry_delays]
    public = f"amqp://{ASYNCAPI['servers']['rabbitmq']['host']}/woragis"
    assert public == settings.amqp_address


@pytest.mark.parametrize(
    ("message", "part", "file"),
    [
        ("envelope", "payload", "envelope/order.json"),
        ("deadLetter", "headers", "dead-letter-headers/not-on-whatsapp.json"),
    ],
)
def test_the_examples_of_the_asyncapi_document_are_the_files(
    message: str, part: str, file: str
) -> None:
    (example,) = MESSAGES[message]["examples"]
    assert example[part] == json.loads((EXAMPLES / file).read_text())


def test_every_file_the_asyncapi_document_refers_to_exists() -> None:
    text = (CONTRACTS / "asyncapi.yaml").read_text()
    found = re.findall(r"\$ref: '\./([^']+)'", text)
    assert set(found) == {f"{name}.schema.json" for name in SCHEMAS} - {
        "log-line.schema.json",
        "health.schema.json",
    }
    trace = MESSAGES["envelope"]["headers"]["properties"]["traceparent"]["pattern"]
    assert trace == definition("retry-headers")["properties"]["traceparent"]["pattern"]


# docs/PUBLISHING.md ----------------------------------------------------------------------------


def test_the_document_on_publishing_shows_the_examples_as_they_are() -> None:
    text = (ROOT / "docs" / "PUBLISHING.md").read_text()
    shown = re.findall(r"^```(?:python|js|sh)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    programs = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())
    assert sorted(shown) == sorted(
        path.read_text().removeprefix("#!/bin/sh\n") for path in programs
    )
    for path in programs:
        assert f"`examples/{path.name}`" in text
