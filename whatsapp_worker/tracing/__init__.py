"""Spans for OpenTelemetry (docs/TRACING.md): made only where it is installed and wanted.

A delivery is traced from outside: `steps` notes when the pipeline's collaborators were busy with
it, and `spans` makes spans of that once it is settled.  Without a wish for traces there is none of
it: the pipeline is the one it would be without this package.
"""

from whatsapp_worker.tracing.start import start

__all__ = ["start"]
