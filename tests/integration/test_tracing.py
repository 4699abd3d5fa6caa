"""A publisher's trace is followed through the daemon: logs, copies, and spans if wanted."""

import json
from asyncio import wait_for
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.amqp import DEAD_LETTERS, PHONE, connect, envelope
from tests.support.daemon import RunningDaemon, run_daemon
from tests.support.eventually import eventually
from whatsapp_worker.demo.rabbitmq import free_ports

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PUBLISHER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{PUBLISHER}-01"
TRACED: dict[str, Any] = {"headers": {"traceparent": PARENT}}
FAILS, REFUSES = "+15550100901", "+15550100902"
RULES = json.dumps({FAILS: {"fail": 1}, REFUSES: {"refuse": True}})


@dataclass
class Collector:
    """An OTLP collector that keeps what it gets.

    Attributes:
        url: for OTEL_EXPORTER_OTLP_ENDPOINT.
        requests: everything, as it came.
    """

    url: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    collector.url = f"http://127.0.0.1:{port}"
    yield collector
    await runner.cleanup()


@asynccontextmanager
async def daemon(
    amqp_url: str, tmp_path: Path, daemon_output: Path, **settings: str
) -> AsyncIterator[RunningDaemon]:
    given = {"SANDBOX_RULES": RULES, "RETRY_DELAYS": "200ms", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with run_daemon(amqp_url, tmp_path, daemon_output, **{**given, **settings}) as running:
        await running.ready()
        yield running


def telling(url: str) -> dict[str, str]:
    """The setting that has spans sent there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url}


def jobs(running: RunningDaemon) -> list[dict[str, Any]]:
    """The lines of settled jobs."""
    lines = [json.loads(line) for line in running.printed.splitlines(keepends=True) if "\n" in line]
    return [line for line in lines if line.get("event") == "job"]


async def test_a_trace_is_in_every_log_line_and_on_the_dead_letter(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    async with (
        daemon(amqp_url, tmp_path, daemon_output) as running,
        connect(amqp_url) as client,
    ):
        for number in (PHONE, FAILS, REFUSES):
            await client.publish(envelope(destination=number), **TRACED)
        await running.has_sent(2)
        (letter,) = await client.collect(DEAD_LETTERS, 1)
        await eventually(lambda: len(jobs(running)) == 4, "a line each")
    assert letter.headers["traceparent"] == PARENT
    assert sorted(line["outcome"] for line in jobs(running)) == [
        "dead_letter", "retry", "sent", "sent"
    ]  # fmt: skip
    assert {line["trace_id"] for line in jobs(running)} == {TRACE}


async def test_a_job_without_a_trace_keeps_the_one_it_was_given(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    async with (
        daemon(amqp_url, tmp_path, daemon_output) as running,
        connect(amqp_url) as client,
    ):
        await client.publish(envelope(destination=FAILS))
        await running.has_sent(1)
        await eventually(lambda: len(jobs(running)) == 2, "a line each")
    first, second = (line["trace_id"] for line in jobs(running))
    assert first == second


async def test_spans_of_every_attempt_reach_the_collector(
    amqp_url: str, tmp_path: Path, daemon_output: Path, collector: Collector
) -> None:
    async with (
        daemon(amqp_url, tmp_path, daemon_output, **telling(collector.url)) as running,
        connect(amqp_url) as client,
    ):
        await client.publish(envelope(destination=FAILS), **TRACED)
        await client.publish(envelope(destination=FAILS, text="the second"))
        await running.has_sent(2)
        await eventually(lambda: len(jobs(running)) == 3, "a line each")
        assert await wait_for(running.stop(), 20) == 0
    names = sorted(span.name for span in collector.spans)
    assert names == [
        "ack whatsapp.queue",
        "ack whatsapp.queue",
        "ack whatsapp.queue",
        "process whatsapp.queue",
        "process whatsapp.queue",
        "process whatsapp.queue",
        "send whatsapp",
        "send whatsapp",
        "send whatsapp",
        "send whatsapp.queue.retry.200ms",
    ]
    processes = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CONSUMER]
    parents = sorted(span.parent_span_id.hex() for span in processes)
    assert parents == ["", PUBLISHER, PUBLISHER]
    logged = [line["trace_id"] for line in jobs(running)]
    assert sorted(span.trace_id.hex() for span in processes) == sorted(logged)
    shown = "".join(str(request) for request in collector.requests)
    assert "whatsapp_worker.outcome" in shown
    assert [
        private for private in (FAILS[1:], "Hello from", "the second") if private in shown
    ] == []


async def test_a_retried_job_without_a_publishers_trace_is_one_trace(
    amqp_url: str, tmp_path: Path, daemon_output: Path, collector: Collector
) -> None:
    async with (
        daemon(amqp_url, tmp_path, daemon_output, **telling(collector.url)) as running,
        connect(amqp_url) as client,
    ):
        await client.publish(envelope(destination=FAILS))
        await running.has_sent(1)
        await eventually(lambda: len(collector.spans) == 7, "two attempts and their steps")
    assert {span.trace_id.hex() for span in collector.spans} == {jobs(running)[0]["trace_id"]}


async def test_a_collector_that_is_away_neither_stops_nor_delays_the_daemon(
    amqp_url: str, tmp_path: Path, daemon_output: Path
) -> None:
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    async with (
        daemon(amqp_url, tmp_path, daemon_output, **telling(away)) as running,
        connect(amqp_url) as client,
    ):
        await client.publish(*(envelope(f"number {number}") for number in range(20)))
        await running.has_sent(20)
        assert await wait_for(running.stop(), 20) == 0


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}])
async def test_without_a_wish_for_spans_none_are_sent(
    off: dict[str, str],
    amqp_url: str,
    tmp_path: Path,
    daemon_output: Path,
    collector: Collector,
) -> None:
    settings = {**off, **(telling(collector.url) if off else {})}
    async with (
        daemon(amqp_url, tmp_path, daemon_output, **settings) as running,
        connect(amqp_url) as client,
    ):
        await client.publish(envelope(), **TRACED)
        await running.has_sent(1)
        assert await running.stop() == 0
    assert collector.requests == []
