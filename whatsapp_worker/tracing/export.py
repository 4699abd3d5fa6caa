"""Where spans go: to an OTLP collector over HTTP, in batches, from a thread of their own."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from whatsapp_worker import __version__
from whatsapp_worker.delivery import trace

SERVICE = "whatsapp-worker"


class _JobIds(RandomIdGenerator):
    """A trace that begins with us has the id that the job's log lines have."""

    def generate_trace_id(self) -> int:
        return int(trace.get(), 16) if trace.get() else super().generate_trace_id()


def exporting_provider() -> TracerProvider:
    """Return a provider whose spans are exported as OpenTelemetry's variables say."""
    return provider(BatchSpanProcessor(OTLPSpanExporter()))


def provider(processor: SpanProcessor) -> TracerProvider:
    """Return a provider that hands its spans to a processor.

    Sampling is OTEL_TRACES_SAMPLER's affair; the resource is ours where OTEL_SERVICE_NAME and
    OTEL_RESOURCE_ATTRIBUTES say nothing else.
    """
    ours = Resource.create({"service.name": SERVICE, "service.version": __version__})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()),
        id_generator=_JobIds(),
        shutdown_on_exit=False,  # `Tracing.close` does it, within its time.
    )
    provider.add_span_processor(processor)
    return provider
