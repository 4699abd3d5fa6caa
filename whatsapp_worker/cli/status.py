"""`whatsapp-worker status`: what the running daemon says of itself."""

import http.client
import json
import os
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatsapp_worker.cli.console import add_command, fail, visible
from whatsapp_worker.settings import Settings, load_settings

TIMEOUT = 3.0
LARGEST_ANSWER = 4 * 1024 * 1024
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>.*)\})? (?P<value>[0-9.eE+-]+)(?: .*)?")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True, slots=True)
class Status:
    """The daemon in a few facts; None where it does not say.

    Attributes:
        healthy: connected to RabbitMQ, ready, and not pausing.
        rabbitmq: "ok", or what is wrong.
        ready: "ok", or what is missing.
        whatsapp: state of the session.
        paused: reasons for which no message is taken.
        queue, dead_letters: messages waiting in each.
        sent, failed, duplicates, retried: since the daemon was started.
    """

    healthy: bool
    rabbitmq: str
    ready: str
    whatsapp: str | None = None
    paused: list[str] = field(default_factory=list)
    queue: int | None = None
    dead_letters: int | None = None
    sent: int | None = None
    failed: int | None = None
    duplicates: int | None = None
    retried: int | None = None


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    add_command(
        app,
        status,
        "whatsapp-worker status",
        "whatsapp-worker status --json | jq .queue",
        "whatsapp-worker status --url http://whatsapp-worker:8080",
    )


def status(
    url: Annotated[
        str | None, typer.Option(help="Where the daemon is; HTTP_PORT on this machine if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the running daemon how it is.

    Exit 0 if it is healthy, ready and not pausing, 1 if not, 69 if nobody answers.
    """
    base = url or local_url(load_settings())
    try:
        found = ask(base)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        fail(f"No daemon answers at {visible(base)} ({reason}): is it running?", os.EX_UNAVAILABLE)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _print(found)
    raise typer.Exit(0 if found.healthy else 1)


def local_url(settings: Settings) -> str:
    """Where a daemon with these settings answers on this machine."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  What it is replaced by.
    host = loopback.get(settings.http_host, settings.http_host)
    return (
        f"http://[{host}]:{settings.http_port}"
        if ":" in host
        else (f"http://{host}:{settings.http_port}")
    )


def ask(base: str) -> Status:
    """Ask a daemon's side server.

    Raises:
        OSError, http.client.HTTPException: nobody answers.
        ValueError: the address is no http:// address, or what answers is no whatsapp-worker.
    """
    health_status, health = _get(base, "/healthz")
    ready_status, ready = _get(base, "/readyz")
    _, metrics = _get(base, "/metrics")
    samples = parse_metrics(metrics.decode(errors="replace"))
    told = _object(health)
    paused = [labels.get("reason", "") for labels, on in samples.get("worker_paused", []) if on]
    return Status(
        healthy=health_status == ready_status == 200 and not paused,
        rabbitmq=_checks(told, health_status),
        ready=_checks(_object(ready), ready_status),
        whatsapp=told.get("whatsapp"),
        paused=paused,
        queue=_total(samples, "queue_depth"),
        dead_letters=_total(samples, "queue_dlq_size"),
        sent=_total(samples, "worker_jobs_processed_total", status="success"),
        failed=_total(samples, "worker_jobs_processed_total", status="failed"),
        duplicates=_total(samples, "worker_jobs_processed_total", status="duplicate"),
        retried=_total(samples, "worker_jobs_retried_total"),
    )


def parse_metrics(text: str) -> Samples:
    """Read the samples of the Prometheus text format, by name."""
    samples: Samples = {}
    for line in text.splitlines():
        if match := _SAMPLE.fullmatch(line):
            labels = dict(_LABEL.findall(match["labels"] or ""))
            samples.setdefault(match["name"], []).append((labels, float(match["value"])))
    return samples


def _get(base: str, path: str) -> tuple[int, bytes]:
    parts = urlsplit(base)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("not an http:// address")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers={"Accept": "*/*"})
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST_ANSWER)
    finally:
        connection.close()


def _object(body: bytes) -> dict[str, Any]:
    told = json.loads(body)
    if not isinstance(told, dict):
        raise ValueError("what answers is no whatsapp-worker")  # noqa: TRY004  To the user.
    return told


def _checks(told: dict[str, Any], code: int) -> str:
    """What is wrong, in the words of the checks that failed."""
    wrong = [
        f"{each.get('name')}: {each.get('message')}"
        for each in told.get("checks") or []
        if each.get("status") != "ok"
    ]
    return "; ".join(wrong) or ("ok" if code == 200 else f"answers {code}")


def _total(samples: Samples, name: str, **labels: str) -> int | None:
    found = [value for given, value in samples.get(name, []) if labels.items() <= given.items()]
    return round(sum(found)) if found else None


def _print(found: Status) -> None:
    table = Table(box=None, show_header=False)
    good = "green" if found.healthy else "red"
    table.add_row("daemon", Text("healthy" if found.healthy else "unhealthy", good))
    rows = {
        "RabbitMQ": found.rabbitmq,
        "ready": found.ready,
        "WhatsApp": found.whatsapp,
        "paused": ", ".join(found.paused) or "no",
        "waiting in the queue": found.queue,
        "dead letters": found.dead_letters,
        "sent": found.sent,
        "failed": found.failed,
        "duplicates": found.duplicates,
        "retried": found.retried,
    }
    for name, value in rows.items():
        table.add_row(name, Text("unknown" if value is None else visible(str(value))))
    Console().print(table)
