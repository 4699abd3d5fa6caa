"""`status` and `healthcheck` against a small server that answers as the daemon does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from threading import Event, Thread
from time import monotonic

import pytest
from typer.testing import CliRunner, Result

from whatsapp_worker import healthcheck
from whatsapp_worker.__main__ import main
from whatsapp_worker.cli import app
from whatsapp_worker.cli.status import local_url, parse_metrics
from whatsapp_worker.settings import Settings

pytestmark = pytest.mark.loopback

METRICS = """\
# HELP worker_jobs_processed_total Jobs.
# TYPE worker_jobs_processed_total counter
worker_jobs_processed_total{worker="whatsapp-worker",status="success"} 12.0
worker_jobs_processed_total{worker="whatsapp-worker",status="failed"} 3.0
worker_jobs_processed_total{worker="whatsapp-worker",status="duplicate"} 1.0
worker_jobs_retried_total{worker="whatsapp-worker"} 4.0 1700000000.0
queue_depth{queue_name="whatsapp.queue"} 1e+03
queue_dlq_size{queue_name="whatsapp.queue"} NaN
worker_paused{reason="whatsapp"} 0.0
worker_paused{reason="ledger"} 0.0
"""
HEALTHY = {
    "status": "healthy",
    "checks": [{"name": "rabbitmq", "status": "ok"}],
    "whatsapp": "online",
}
UNHEALTHY = {
    "status": "unhealthy",
    "checks": [{"name": "rabbitmq", "status": "error", "message": "connection \x1b[2J closed"}],
    "whatsapp": "reconnecting",
}


@dataclass(slots=True)
class Daemon:
    """What the daemon answers, by path."""

    port: int = 0
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)

    def says(self, path: str, status: int, body: object) -> None:
        """Answer a path from now on."""
        self.answers[path] = (status, body if isinstance(body, str) else json.dumps(body))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A healthy daemon, until it is told to say something else."""
    facts = Daemon()
    facts.says("/livez", 200, {"status": "alive"})
    facts.says("/healthz", 200, HEALTHY)
    facts.says("/readyz", 200, {"status": "ready", "checks": []})
    facts.says("/metrics", 200, METRICS)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = facts.answers.get(self.path, (404, "{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        facts.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield facts
        server.shutdown()
        thread.join()


def status(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["status", *arguments], env=env, prog_name="whatsapp-worker")


# status ------------------------------------------------------------------------------------------


def test_a_healthy_daemon_is_summed_up(daemon: Daemon) -> None:
    result = status(HTTP_PORT=str(daemon.port))
    assert result.exit_code == 0
    rows = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines())
    assert {name: value.strip() for name, value in rows.items()} == {
        "daemon": "healthy",
        "RabbitMQ": "ok",
        "ready": "ok",
        "WhatsApp": "online",
        "paused": "no",
        "waiting in the queue": "1000",
        "dead letters": "unknown",
        "sent": "12",
        "failed": "3",
        "duplicates": "1",
        "retried": "4",
    }


def test_the_same_is_json_for_machines(daemon: Daemon) -> None:
    result = status("--json", "--url", f"{daemon.url}/")
    assert json.loads(result.stdout) == {
        "healthy": True,
        "rabbitmq": "ok",
        "ready": "ok",
        "whatsapp": "online",
        "paused": [],
        "queue": 1000,
        "dead_letters": None,
        "sent": 12,
        "failed": 3,
        "duplicates": 1,
        "retried": 4,
    }


def test_a_lost_broker_makes_it_unhealthy_and_is_explained(daemon: Daemon) -> None:
    daemon.says("/healthz", 503, UNHEALTHY)
    daemon.says("/readyz", 503, {"status": "not ready"})
    result = status("--url", daemon.url)
    assert result.exit_code == 1
    assert "rabbitmq: connection \\x1b[2J closed" in result.stdout
    assert "answers 503" in result.stdout


def test_a_pause_is_unhealthy_and_says_why(daemon: Daemon) -> None:
    daemon.says("/metrics", 200, METRICS.replace('reason="ledger"} 0.0', 'reason="ledger"} 1.0'))
    result = status("--json", "--url", daemon.url)
    assert (result.exit_code, json.loads(result.stdout)["paused"]) == (1, ["ledger"])


@pytest.mark.parametrize("body", ["[]", "<html>", ""])
def test_something_else_on_the_port_is_not_taken_for_a_daemon(daemon: Daemon, body: str) -> None:
    daemon.says("/healthz", 200, body)
    result = status("--url", daemon.url)
    assert (result.exit_code, result.stdout) == (os.EX_UNAVAILABLE, "")
    assert result.stderr.startswith(f"No daemon answers at {daemon.url}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://127.0.0.1:1", "x", "http://h:port"])
def test_nobody_there_exits_with_69(url: str) -> None:
    result = status("--url", url)
    assert result.exit_code == os.EX_UNAVAILABLE
    assert result.stderr.startswith(f"No daemon answers at {url} (")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("10.0.0.9", "http://10.0.0.9:8080"),
    ],
)
def test_the_local_daemon_is_asked_where_it_listens(host: str, url: str) -> None:
    assert local_url(Settings(http_host=host)) == url


def test_labels_with_escaped_quotes_are_read() -> None:
    assert parse_metrics('x{a="1\\"2",b="c}d"} 3\nnonsense\n') == {
        "x": [({"a": '1\\"2', "b": "c}d"}, 3.0)]
    }


# healthcheck -------------------------------------------------------------------------------------


def check(**env: str) -> subprocess.CompletedProcess[str]:
    """Run it as the container runtime does."""
    return subprocess.run(
        [sys.executable, "-m", "whatsapp_worker", "healthcheck"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_an_alive_daemon_gives_0_and_no_word(daemon: Daemon) -> None:
    result = check(HTTP_PORT=str(daemon.port))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_stuck_daemon_gives_1_and_its_own_words(daemon: Daemon) -> None:
    daemon.says("/livez", 503, '{"status":\n"stuck"}')
    result = check(HTTP_PORT=str(daemon.port))
    expected = 'not alive: /livez says 503 {"status": "stuck"}\n'
    assert (result.returncode, result.stdout, result.stderr) == (1, "", expected)


def test_no_daemon_gives_1_and_says_where_it_was_sought() -> None:
    result = check(HTTP_PORT="1")
    expected = "not alive: no answer from 127.0.0.1:1 (Connection refused)\n"
    assert (result.returncode, result.stderr) == (1, expected)


def test_the_way_in_leads_to_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["whatsapp-worker", "healthcheck"])
    for status, code in ((200, 0), (503, 1)):
        daemon.says("/livez", status, "{}")
        monkeypatch.setenv("HTTP_PORT", str(daemon.port))
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == code


def test_the_command_line_offers_the_same_check(daemon: Daemon) -> None:
    env = {"HTTP_PORT": str(daemon.port), "HTTP_HOST": "127.0.0.1"}
    assert CliRunner().invoke(app, ["healthcheck"], env=env).exit_code == 0


def test_a_port_that_is_none_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PORT", "web")
    assert healthcheck.main() == 1
    assert capsys.readouterr().err.startswith("not alive: no answer from 127.0.0.1:web (")


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"HTTP/1.0 fine\r\n\r\n", b"HTTP/1.0"])
def test_what_is_not_http_is_not_alive(answer: bytes) -> None:
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(ValueError, match="not HTTP"):
            healthcheck.ask("127.0.0.1", str(server.getsockname()[1]), "/livez")
        thread.join()


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    over = Event()
    with create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not over.wait(0.02):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = Thread(target=drip)
        thread.start()
        begun = monotonic()
        with pytest.raises(TimeoutError):
            healthcheck.ask("127.0.0.1", str(server.getsockname()[1]), "/livez", timeout=0.3)
        assert monotonic() - begun < 3
        over.set()
        thread.join()


def test_healthcheck_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['whatsapp-worker', 'healthcheck']\n"
        "from whatsapp_worker.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sorted(sys.modules))"
    )
    measured = {name for name in os.environ if name.startswith("COVERAGE")}  # It loads a lot.
    env = {name: value for name, value in os.environ.items() if name not in measured}
    env["HTTP_PORT"] = "1"
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    code_and_modules = result.stdout.split()
    assert code_and_modules[0] == "1"
    heavy = {"typer", "rich", "pydantic", "aiohttp", "asyncio", "ssl", "http.client", "json"}
    assert not heavy & set(code_and_modules)
    ours = {name for name in code_and_modules if name.startswith("whatsapp_worker.")}
    assert ours == {"whatsapp_worker.__main__", "whatsapp_worker.healthcheck"}
