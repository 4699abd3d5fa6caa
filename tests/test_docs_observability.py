"""HEALTH_CHECK.md, LOGGING.md and docs/METRICS.md say what the code does."""

import ast
import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.support.logs import ENVELOPE, JOB, OUTCOMES, TRACE, logging_to, record, written
from tests.test_health import WELL
from whatsapp_worker import logs
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, Invalid, PauseReason
from whatsapp_worker.metrics import Metrics
from whatsapp_worker.outcome import Record, Reject
from whatsapp_worker.web import Server
from whatsapp_worker.web.health import healthz, livez, readyz
from whatsapp_worker.whatsapp import WhatsAppState

ROOT = Path(__file__).parent.parent
HEALTH_CHECK = (ROOT / "HEALTH_CHECK.md").read_text()
LOGGING = (ROOT / "LOGGING.md").read_text()
METRICS = (ROOT / "docs" / "METRICS.md").read_text()


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, as lists of cells."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = Metrics(
        registry, queue="work", dead_letter_queue="dead", whatsapp_states=list(WhatsAppState)
    )
    metrics.depths(1, 1)
    return registry


# HEALTH_CHECK.md -------------------------------------------------------------------------------


def test_every_endpoint_is_described_and_no_other() -> None:
    server = Server("127.0.0.1", 0, WELL, CollectorRegistry())
    described = [names(row[0])[0] for row in table(HEALTH_CHECK, "Endpoint")]
    assert described == list(server.endpoints)


def test_every_check_is_described_and_no_other() -> None:
    described = [
        (names(row[0])[0], names(row[1])[0])
        for row in table(section(HEALTH_CHECK, "`/livez` and `/readyz`"), "Endpoint")
    ]
    everything = replace(WELL, whatsapp_online=WELL.ledger)
    real = [
        (endpoint, check["name"])
        for endpoint, answer in (("/livez", livez(everything)), ("/readyz", readyz(everything)))
        for check in json.loads(json.dumps(answer.body["checks"]))
    ]
    assert described == real


def example(name: str) -> dict[str, object]:
    found = re.search(rf"```json {name}\n(.*?)```", HEALTH_CHECK, re.DOTALL)
    assert found
    read: dict[str, object] = json.loads(found[1])
    return read


def test_the_examples_are_what_is_answered() -> None:
    assert example("healthz-200") == healthz(None, "online").body
    assert example("healthz-503") == healthz("connection closed", "online").body
    full = replace(WELL, ledger=lambda: "the ledger cannot be written: disk full")
    assert example("readyz-503") == readyz(full).body


def test_every_state_of_whatsapp_is_named() -> None:
    text = HEALTH_CHECK.split("<!-- states -->")[1].split("##")[0]
    assert names(text) == list(WhatsAppState)


# LOGGING.md ------------------------------------------------------------------------------------


def described_fields(title: str) -> set[str]:
    return {names(row[0])[0] for row in table(section(LOGGING, title), "Field")}


def test_every_field_of_every_line_is_described_and_no_other() -> None:
    with logging_to(io.StringIO()) as stream:
        logging.getLogger("x").error("x", exc_info=ValueError(), stack_info=True)
        logs.observe(record(OUTCOMES["sent"][0]))
    plain, job = written(stream)
    always = described_fields("Fields of every line")
    assert set(plain) | {"trace_id"} == always
    assert "trace_id" in job


def test_every_field_of_a_jobs_line_is_described_and_no_other() -> None:
    with logging_to(io.StringIO()) as stream:
        for outcome, *_ in OUTCOMES.values():
            logs.observe(record(outcome))
        logs.observe(record(Reject(Invalid(ErrorType.MALFORMED, "not JSON"))))
    emitted = set().union(*written(stream))
    own = described_fields("Fields of a job's line")
    assert emitted - described_fields("Fields of every line") == own


def test_tells_right_when_a_field_of_a_jobs_line_is_present() -> None:
    cases = {name: record(outcome) for name, (outcome, *_) in OUTCOMES.items()}
    invalid = Reject(Invalid(ErrorType.MALFORMED, "not JSON"))
    cases["reject"] = Record(Delivery(b"{", trace_id=TRACE), invalid, 0.1)
    for case in cases.values():
        with logging_to(io.StringIO()) as stream:
            logs.observe(case)
        (line,) = written(stream)
        for cells in table(section(LOGGING, "Fields of a job's line"), "Field"):
            name, when = names(cells[0])[0], cells[1]
            expected = {
                "always": True,
                "if the publisher gave one": case.delivery.message_id is not None,
                "if the message could be read": case.envelope is ENVELOPE,
                "unless `reject`": not isinstance(case.outcome, Reject),
            }.get(when, line["outcome"] in names(when))
            assert (name in line) == expected, (name, line["outcome"])


def test_every_field_that_other_lines_carry_is_described() -> None:
    found: set[str] = set()
    for path in (ROOT / "whatsapp_worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            given = node.value if isinstance(node, ast.keyword | ast.Assign) else None
            target = node.arg if isinstance(node, ast.keyword) else None
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                target = node.targets[0].id
            if target == "extra" and isinstance(given, ast.Dict):
                found |= {key.value for key in given.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]  # `given` is a Dict node, just checked.
    assert found == described_fields("Fields of other lines")


def test_the_example_of_a_line_has_the_fields_of_a_real_one() -> None:
    found = re.search(r"```json\n(.*?)```", LOGGING, re.DOTALL)
    assert found
    with logging_to(io.StringIO()) as stream:
        logs.observe(record(OUTCOMES["sent"][0]))
    (line,) = written(stream)
    assert list(json.loads(found[1])) == list(line)
    assert len(json.loads(found[1])["job_key"]) == len(line["job_key"]) < len(JOB.key)


# docs/METRICS.md -------------------------------------------------------------------------------


def test_every_metric_is_described_as_it_is_and_no_other() -> None:
    described = {
        names(name)[0]: (kind, names(labels), meaning)
        for name, kind, labels, meaning in table(METRICS, "Metric")
    }
    real = {}
    for metric in registry().collect():
        if metric.name.startswith(("process_", "python_")):
            continue
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = [label for label in metric.samples[0].labels if label != "le"]
        real[name] = (metric.type, labels, metric.documentation)
    assert described == real


def test_every_value_of_a_label_is_named_and_no_other() -> None:
    values: dict[str, set[str]] = {}
    for metric in registry().collect():
        if not metric.name.startswith(("process_", "python_")):
            for sample in metric.samples:
                for label, value in sample.labels.items():
                    values.setdefault(label, set()).add(value)
    described = {names(label)[0]: set(names(text)) for label, text in table(METRICS, "Label")}
    assert described.keys() == values.keys() - {"le"}
    for label in described.keys() - {"queue_name", "version"}:
        assert described[label] == values[label]
    assert described["reason"] == set(PauseReason)


@pytest.mark.parametrize("text", [HEALTH_CHECK, LOGGING, METRICS])
def test_links_lead_somewhere(text: str) -> None:
    base = ROOT / "docs" if text is METRICS else ROOT
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (base / target).exists(), target
