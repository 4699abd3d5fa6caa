"""Spans of a settled delivery, named and described by OpenTelemetry's messaging conventions.

Made afterwards, with the times at which things were done.  Nothing in them holds a phone number, a
text or a key: there is only what a log line shows as well.
"""

import asyncio
from dataclasses import replace
from threading import Thread
from time import monotonic, time_ns
from typing import assert_never
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from whatsapp_worker import __version__
from whatsapp_worker.delivery import Delivery
from whatsapp_worker.errors import JobError
from whatsapp_worker.masking import mask
from whatsapp_worker.outcome import DeadLetter, Duplicate, Outcome, Record, Reject, Retry, Sent
from whatsapp_worker.pipeline import Pipeline
from whatsapp_worker.settings import Settings
from whatsapp_worker.tracing.steps import NotingBroker, NotingSender, Step, take_steps

CLOSE_SECONDS = 3.0
"""How long stopping may take for the sake of spans: a collector that is away loses the last.

With DRAIN_TIMEOUT and what the connections may take it stays within the grace of 100 seconds.
"""

LONGEST_ID = 128
"""Characters of a publisher's message id that are shown, as in the logs."""

Attributes = dict[str, str | int]


class Tracing:
    """Makes a span of every settled delivery, with a child for each step of it.

    Args:
        provider: where spans go.
        settings: the queue that deliveries come from, and its broker.
    """

    def __init__(self, provider: TracerProvider, settings: Settings) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("whatsapp_worker", __version__)
        self._settings = settings
        self._queue = settings.whatsapp_queue_name
        broker = urlsplit(settings.amqp_address)
        self._broker: Attributes = {
            "messaging.system": "rabbitmq",
            "server.address": broker.hostname or "",
            "server.port": broker.port or 0,
        }

    def follow(self, pipeline: Pipeline) -> Pipeline:
        """Return the same pipeline, with everything noted and told that spans are made of."""
        return replace(
            pipeline,
            broker=NotingBroker(pipeline.broker, self._settings),
            sender=NotingSender(pipeline.sender),
            observers=(*pipeline.observers, self.observe),
        )

    def observe(self, record: Record) -> None:
        """Make the spans of a settled delivery; called by the task that has settled it."""
        steps, clock = take_steps(), _Clock()
        span = self._tracer.start_span(
            f"process {self._queue}",
            _parent(record.delivery),
            SpanKind.CONSUMER,
            self._of_delivery(record),
            start_time=clock.unix_ns(clock.now - record.seconds),
        )
        if span.is_recording():
            for step in steps:
                self._child(span, step, clock)
            _, _, error = _told(record.outcome)
            if error:
                span.set_status(StatusCode.ERROR, mask(error.detail))
        span.end(clock.unix_ns(clock.now))

    async def close(self) -> None:
        """Send what waits, for at most CLOSE_SECONDS; never raises."""
        # A daemon thread: neither the loop's end nor the process's waits for a slow collector.
        ending = Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, CLOSE_SECONDS)

    def _of_delivery(self, record: Record) -> Attributes:
        outcome, attempt, error = _told(record.outcome)
        message_id = record.delivery.message_id
        return {
            **self._broker,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": self._queue,
            "messaging.message.body.size": len(record.delivery.body),
            **({"messaging.message.id": mask(message_id[:LONGEST_ID])} if message_id else {}),
            "whatsapp_worker.outcome": outcome,
            "whatsapp_worker.attempt": attempt,
            **({"error.type": str(error.error_type)} if error else {}),
        }

    def _child(self, parent: Span, step: Step, clock: "_Clock") -> None:
        span = self._tracer.start_span(
            f"{step.operation} {step.queue or 'whatsapp'}",
            set_span_in_context(parent, Context()),
            SpanKind.CLIENT,
            self._of_step(step),
            start_time=clock.unix_ns(step.began),
        )
        if step.error:
            span.set_status(StatusCode.ERROR)
        span.end(clock.unix_ns(step.ended))

    def _of_step(self, step: Step) -> Attributes:
        return {
            **(self._broker if step.queue else {"messaging.system": "whatsapp"}),
            "messaging.operation.name": step.operation,
            "messaging.operation.type": "send" if step.operation == "send" else "settle",
            **({"messaging.destination.name": step.queue} if step.queue else {}),
            **({"error.type": step.error} if step.error else {}),
        }


class _Clock:
    """Turns times of the monotonic clock into Unix times, all by one pair of readings."""

    def __init__(self) -> None:
        self.now = monotonic()
        self._unix_ns = time_ns()

    def unix_ns(self, seconds: float) -> int:
        """Return when that was, in Unix nanoseconds."""
        return self._unix_ns - round((self.now - seconds) * 1e9)


def _parent(delivery: Delivery) -> Context:
    """Return the publisher's context, or an empty one: the trace begins with us then."""
    if delivery.trace_parent is None:
        return Context()
    carrier = {"traceparent": delivery.trace_parent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _told(outcome: Outcome) -> tuple[str, int, JobError | None]:
    """Return an outcome's name, the failed attempts with it, and why it failed."""
    match outcome:
        case Sent(job):
            return "sent", job.attempt, None
        case Duplicate(claim):
            return "duplicate", claim.job.attempt, None
        case Retry(_, error, attempt):
            return "retry", attempt, error
        case DeadLetter(_, error, attempts):
            return "dead_letter", attempts, error
        case Reject(error):
            return "reject", 0, error
        case _:
            assert_never(outcome)
