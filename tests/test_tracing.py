"""Spans tell what was done with a delivery and when, and nothing private."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic, time_ns

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.test_amqp_incoming import PARENT, read
from tests.test_docs_observability import names as names_in
from tests.test_docs_observability import table
from tests.test_pipeline import BROKEN, NO_PUBLISHER, NUMBER, Worker, job
from whatsapp_worker import tracing
from whatsapp_worker.amqp.incoming import made_trace_parent
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import ErrorType, InDoubt, Refused
from whatsapp_worker.settings import Settings
from whatsapp_worker.tracing import spans
from whatsapp_worker.tracing.export import provider
from whatsapp_worker.tracing.spans import Tracing

TRACING = (Path(__file__).parent.parent / "docs" / "TRACING.md").read_text()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PUBLISHER = "00f067aa0ba902b7"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
SETTINGS = Settings(retry_delays="5s,30s")


class Traced(Worker):
    """A worker whose spans are kept in memory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.exporter = InMemorySpanExporter()
        self.provider = provider(SimpleSpanProcessor(self.exporter))
        self.pipeline = Tracing(self.provider, SETTINGS).follow(self.pipeline)

    async def spans_of(self, delivery: Delivery) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Handle a delivery; return its span, and the spans in that in the order they began."""
        self.exporter.clear()
        await self.handle(delivery)
        return self.family

    @property
    def family(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        finished = self.exporter.get_finished_spans()
        (root,) = (each for each in finished if each.kind is SpanKind.CONSUMER)
        children = [each for each in finished if each is not root]
        for child in children:
            assert child.parent == root.context
            assert (root.start_time or 0) <= (child.start_time or 0)
            assert (child.end_time or 0) <= (root.end_time or 0)
        return root, sorted(children, key=lambda each: each.start_time or 0)


@pytest.fixture(autouse=True)
def _no_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own collector is not for the tests."""
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Traced]:
    worker = Traced(tmp_path)
    await worker.ledger.open()
    yield worker
    await worker.ledger.close()
    worker.provider.shutdown()


def traced(parent: str | None = f"00-{TRACE}-{PUBLISHER}-01", **fields: object) -> Delivery:
    return replace(job(**fields), trace_id=TRACE, trace_parent=parent)  # type: ignore[arg-type]  # field by field


# What spans say --------------------------------------------------------------------------------


async def test_a_sent_message_is_a_span_with_its_send_and_its_ack(worker: Traced) -> None:
    root, children = await worker.spans_of(traced())
    assert (root.name, root.kind) == ("process whatsapp.queue", SpanKind.CONSUMER)
    assert root.attributes == {
        "messaging.system": "rabbitmq",
        "server.address": "rabbitmq",
        "server.port": 5672,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "whatsapp.queue",
        "messaging.message.body.size": len(job().body),
        "messaging.message.id": "m-1",
        "whatsapp_worker.outcome": "sent",
        "whatsapp_worker.attempt": 0,
    }
    assert root.status.status_code is StatusCode.UNSET
    assert [(child.name, child.kind) for child in children] == [
        ("send whatsapp", SpanKind.CLIENT),
        ("ack whatsapp.queue", SpanKind.CLIENT),
    ]
    send, ack = children
    assert send.attributes == {
        "messaging.system": "whatsapp",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    assert (ack.attributes or {})["messaging.operation.type"] == "settle"


async def test_the_publishers_span_is_the_parent(worker: Traced) -> None:
    root, children = await worker.spans_of(traced())
    assert root.parent is not None
    assert (f"{root.parent.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PUBLISHER)
    assert {f"{each.context.trace_id:032x}" for each in (root, *children)} == {TRACE}


async def test_a_trace_that_begins_here_has_the_id_of_the_log_lines(worker: Traced) -> None:
    root, _ = await worker.spans_of(traced(None))
    assert root.parent is None
    assert f"{root.context.trace_id:032x}" == TRACE


async def test_what_the_publisher_does_not_sample_is_not_exported(worker: Traced) -> None:
    await worker.handle(traced(f"00-{TRACE}-{PUBLISHER}-00"))
    assert worker.exporter.get_finished_spans() == ()


async def test_a_failure_is_an_error_on_both_spans_and_its_copy_is_a_send(worker: Traced) -> None:
    worker.sender.script = [BROKEN]
    root, (send, copy, _) = await worker.spans_of(traced())
    assert root.status.status_code is StatusCode.ERROR
    assert root.status.description == BROKEN.detail
    for span in (root, send):
        assert (span.attributes or {})["error.type"] == "server_error"
    assert (root.attributes or {})["whatsapp_worker.outcome"] == "retry"
    assert (root.attributes or {})["whatsapp_worker.attempt"] == 1
    assert copy.name == "send whatsapp.queue.retry.5s"


OUTCOMES = {
    "dead_letter": (
        Refused(ErrorType.NOT_ON_WHATSAPP, "no account"),
        ["send whatsapp", "send whatsapp.queue.failed", "ack whatsapp.queue"],
    ),
    "retry": (
        InDoubt("no answer"),
        ["send whatsapp", "send whatsapp.queue.retry.5s", "ack whatsapp.queue"],
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_the_steps_of_other_ends_are_seen(worker: Traced, name: str) -> None:
    error, steps = OUTCOMES[name]
    worker.sender.script = [error]
    root, children = await worker.spans_of(traced())
    assert (root.attributes or {})["whatsapp_worker.outcome"] == name
    assert (root.attributes or {})["error.type"] == error.error_type
    assert [child.name for child in children] == steps


async def test_a_duplicate_and_a_rejected_message_are_not_sent(worker: Traced) -> None:
    await worker.handle(traced())
    root, children = await worker.spans_of(traced())
    assert (root.attributes or {})["whatsapp_worker.outcome"] == "duplicate"
    assert [child.name for child in children] == ["ack whatsapp.queue"]
    root, children = await worker.spans_of(replace(traced(), body=b"{"))
    assert (root.attributes or {})["error.type"] == "malformed"
    assert [child.name for child in children] == ["reject whatsapp.queue"]


async def test_what_had_to_be_done_twice_is_seen_twice(worker: Traced) -> None:
    worker.sender.script = [BROKEN]
    worker.broker.trouble = [NO_PUBLISHER]
    _, (_, failed, published, _) = await worker.spans_of(traced())
    assert failed.name == published.name == "send whatsapp.queue.retry.5s"
    assert (failed.attributes or {})["error.type"] == "unavailable_publisher"
    assert failed.status.status_code is StatusCode.ERROR
    assert "error.type" not in (published.attributes or {})


async def test_a_span_lasts_from_taking_the_delivery_up_to_now(worker: Traced) -> None:
    worker.sender.may_end.clear()
    before, started = time_ns(), monotonic()
    handling = asyncio.create_task(worker.pipeline.handle(traced()))
    await worker.sender.began.wait()
    await asyncio.sleep(0.05)
    worker.sender.may_end.set()
    await handling
    root, (send, _) = worker.family
    taken = round((monotonic() - started) * 1e9)
    assert abs((root.start_time or 0) - before) < 1e8
    assert 5e7 <= (send.end_time or 0) - (send.start_time or 0) <= taken
    assert (root.end_time or 0) - (root.start_time or 0) <= taken


async def test_jobs_side_by_side_keep_their_steps_apart(worker: Traced) -> None:
    worker.sender.script = [BROKEN]
    worker.broker.put(traced(), traced(number=2), traced(number=3))
    worker.broker.end()
    await worker.pipeline.run()
    finished = worker.exporter.get_finished_spans()
    roots = [each.context.span_id for each in finished if each.kind is SpanKind.CONSUMER]
    counted = sorted(
        sum(each.parent is not None and each.parent.span_id == root for each in finished)
        for root in roots
    )
    assert counted == [2, 2, 3]


async def test_no_span_holds_a_number_a_text_or_a_key(worker: Traced) -> None:
    key = "order-of-ana-12"
    worker.sender.script = [BROKEN, Refused(ErrorType.REFUSED, f"no to {NUMBER}")]
    for delivery in (traced(number=1, idempotency_key=key), traced(number=2), traced(number=3)):
        await worker.handle(replace(delivery, message_id=f"to {NUMBER} {delivery.message_id}"))
    shown = "".join(each.to_json() for each in worker.exporter.get_finished_spans())
    assert "***" in shown
    private = [NUMBER[1:], "text 1", "text 2", key, str(job(1).body)]
    private += [each.job.key for each in worker.broker.retries]
    private += [each.job.key for each in worker.broker.letters]
    assert [each for each in private if each in shown] == []


async def test_the_resource_names_the_worker_unless_the_environment_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = SimpleSpanProcessor(InMemorySpanExporter())
    assert provider(processor).resource.attributes["service.name"] == "whatsapp-worker"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "account-2")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    attributes = provider(processor).resource.attributes
    assert attributes["service.name"] == "account-2"
    assert attributes["deployment.environment.name"] == "staging"


async def test_the_document_lists_the_attributes_and_where_they_are(worker: Traced) -> None:
    worker.sender.script = ["WA1", BROKEN, Refused(ErrorType.REFUSED, "no")]
    seen: dict[str, set[str]] = {}
    for delivery in (traced(number=1), traced(number=2), traced(number=3)):
        root, children = await worker.spans_of(delivery)
        for span in (root, *children):
            for name in span.attributes or {}:
                seen.setdefault(name, set()).add(span.name.replace("5s", "30s"))
    described = {
        name: where for names, where, _ in table(TRACING, "Attribute") for name in names_in(names)
    }
    assert described.keys() == seen.keys()
    process = "process whatsapp.queue"
    for name, where in described.items():
        assert (seen[name] == {process}) == (where == "`process`"), name
        assert ("send whatsapp" in seen[name]) == (where in {"all", "what failed"}), name
    spans_described = {each for row in table(TRACING, "Span") for each in names_in(row[0])}
    assert set().union(*seen.values()) <= spans_described


# Whether there are any -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "True"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_wish_for_spans_there_is_nothing(environment: dict[str, str]) -> None:
    assert tracing.start(SETTINGS, environment) is None


@pytest.mark.loopback  # urllib3 looks for IPv6 when it is loaded.
async def test_with_one_there_is_tracing() -> None:
    started = tracing.start(SETTINGS, ENDPOINT)
    assert started is not None
    await started.close()


def test_the_daemon_does_not_even_load_opentelemetry_without_it() -> None:
    script = (
        "import sys, whatsapp_worker.app; from whatsapp_worker import tracing; "
        "from whatsapp_worker.settings import Settings; tracing.start(Settings(), {}); "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == 0


def test_without_the_packages_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in list(sys.modules):
        if name.startswith("whatsapp_worker.tracing."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.WARNING):
        assert tracing.start(SETTINGS, ENDPOINT) is None
    assert "whatsapp-worker[otel]" in caplog.text


# The trace that our own copies carry -----------------------------------------------------------


def test_a_made_trace_parent_is_no_parent_of_a_span() -> None:
    own = read(headers={"traceparent": made_trace_parent(TRACE)})
    assert (own.trace_id, own.trace_parent) == (TRACE, None)
    published = read(headers={"traceparent": PARENT})
    assert (published.trace_id, published.trace_parent) == (TRACE, PARENT)
    assert read().trace_parent is None


# The end ---------------------------------------------------------------------------------------


class Stuck(SpanProcessor):
    """A collector that takes for ever."""

    def __init__(self) -> None:
        self.let_go = Event()

    def shutdown(self) -> None:
        self.let_go.wait(30)


async def test_a_collector_that_is_stuck_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(spans, "CLOSE_SECONDS", 0.1)
    async with asyncio.timeout(5):
        await Tracing(provider(stuck), SETTINGS).close()
    stuck.let_go.set()
