"""PromQL expressions, held against what the worker exports."""

from collections.abc import Iterator
from functools import cache

import promql_parser
from prometheus_client import CollectorRegistry

from whatsapp_worker.metrics import Metrics
from whatsapp_worker.whatsapp import WhatsAppState

JOB = "whatsapp-worker"
"""The name of the scrape job, which every rule and query asks for."""

TARGET_LABELS = frozenset({"job", "instance"})
"""Labels that Prometheus adds to all samples of a target."""

Labels = dict[str, frozenset[str]]
"""The values of each label of a metric; none given: any."""


@cache
def exported() -> dict[str, Labels]:
    """Every sample name the worker exports, with the values of its labels."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, queue="q", dead_letter_queue="d", whatsapp_states=WhatsAppState)
    metrics.depths(1, 1)
    found: dict[str, Labels] = {"up": {}}
    for sample in (sample for metric in registry.collect() for sample in metric.samples):
        labels = found.setdefault(sample.name, {})
        for label, value in sample.labels.items():
            known = frozenset() if label in {"queue_name", "version"} else {value}
            labels[label] = labels.get(label, frozenset()) | known
    return found


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """All selections of series in an expression; raises ValueError when it does not parse."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def mistakes(expression: str, recorded: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say what an expression asks for that is not there, a sentence each.

    Args:
        expression: PromQL.
        recorded: names of recording rules, whose labels are not checked.
    """
    for selector in selectors(expression):
        name = str(selector.name)
        given = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        if given.get("job") != JOB:
            yield f'{name}: does not ask for job="{JOB}"'
        if name in exported():
            yield from _wrong_labels(name, given)
        elif name not in recorded:
            yield f"{name}: the worker exports no such metric"


def _wrong_labels(name: str, given: dict[str, str]) -> Iterator[str]:
    labels = exported()[name]
    for label, value in given.items():
        if label in labels:
            for wrong in set(value.split("|")) - labels[label] if labels[label] else ():
                yield f"{name}: {label} is never {wrong}"
        elif label not in TARGET_LABELS:
            yield f"{name}: has no label {label}"
