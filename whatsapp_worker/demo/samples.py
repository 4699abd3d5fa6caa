"""Reading /metrics as a person would: which numbers moved."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

OURS = ("worker_", "whatsapp_", "queue_")
DETAILS = ("_bucket", "_sum", "_created")


def samples(exposition: str) -> dict[str, float]:
    """The counters and gauges of a /metrics page, by name and labels as they stand there.

    Buckets and sums of histograms are left out: they say how long, not what.
    """
    return {
        _written(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name.startswith(OURS) and not sample.name.endswith(DETAILS)
    }


def moved(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each sample differs, those that do not left out."""
    differences = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {name: value for name, value in differences.items() if value}


def _written(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{inside}}}" if inside else name
