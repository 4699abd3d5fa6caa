"""The trace id that the lines of one task share."""

from contextvars import ContextVar

trace: ContextVar[str] = ContextVar("trace_id", default="")


def bind_trace(trace_id: str) -> None:
    """Put this trace id into every further line of the current task and of tasks it starts."""
    trace.set(trace_id)
