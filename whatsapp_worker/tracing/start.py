"""Whether there are to be spans: OpenTelemetry's own environment variables decide."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from whatsapp_worker.settings import Settings

if TYPE_CHECKING:
    from whatsapp_worker.tracing.spans import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

log = logging.getLogger(__name__)


def start(settings: Settings, environment: Mapping[str, str] = os.environ) -> "Tracing | None":
    """Start to export spans, or return None: not wanted, or OpenTelemetry is not installed.

    Args:
        settings: where the deliveries come from.
        environment: says whether; OpenTelemetry reads the rest of its variables itself.
    """
    if not _wanted(environment):
        return None
    try:
        from whatsapp_worker.tracing.export import exporting_provider
        from whatsapp_worker.tracing.spans import Tracing
    except ImportError as missing:
        log.warning(
            "no spans are made: %s is not installed (install whatsapp-worker[otel])",
            missing.name,
        )
        return None
    return Tracing(exporting_provider(), settings)


def _wanted(environment: Mapping[str, str]) -> bool:
    """Whether an address is set, and nothing that says no (OpenTelemetry's specification)."""
    return (
        any(environment.get(name, "").strip() for name in ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() in {"", "otlp"}
    )
