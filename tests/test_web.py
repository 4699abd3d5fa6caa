"""The side server, asked over real sockets."""

import asyncio
import errno
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from tests.test_health import WELL, Clock, with_check
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.web import Health, Server
from whatsapp_worker.web import server as server_module
from whatsapp_worker.web.health import RABBITMQ_TIMEOUT

pytestmark = pytest.mark.loopback

PATHS = ("/healthz", "/livez", "/readyz", "/metrics")


class Served:
    """A server on a free port, whose health can be changed, and a client of it."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self.rabbitmq_answer: str | None = None
        self.rabbitmq_asked = 0
        self.clock = Clock()
        self.registry = CollectorRegistry()
        Counter("x_total", "A count.", registry=self.registry).inc()
        self.client = client
        self.health = replace(WELL, rabbitmq=self._rabbitmq)
        self.server = self.serve(self.health)

    def serve(self, health: Health) -> Server:
        return Server("127.0.0.1", 0, health, self.registry, clock=self.clock)

    async def _rabbitmq(self) -> str | None:
        self.rabbitmq_asked += 1
        return self.rabbitmq_answer

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    async def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self.client.request(method, self.url(path), headers=headers) as response:
            return response, await response.read()

    async def raw(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with aiohttp.ClientSession() as client:
        served = Served(client)
        await served.server.start()
        yield served
        await served.server.close()


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_says_200_while_all_is_well(served: Served, path: str) -> None:
    response, body = await served.ask(path)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["status"] == "healthy"


async def test_healthz_follows_rabbitmq_only_and_keeps_its_answer_for_five_seconds(
    served: Served,
) -> None:
    assert (await served.ask("/healthz"))[0].status == 200
    served.rabbitmq_answer = "connection closed"
    assert (await served.ask("/healthz"))[0].status == 200
    served.clock.now += 5
    response, body = await served.ask("/healthz")
    assert response.status == 503
    assert json.loads(body) == {
        "status": "unhealthy",
        "checks": [{"name": "rabbitmq", "status": "error", "message": "connection closed"}],
        "whatsapp": "online",
    }
    assert served.rabbitmq_asked == 2
    assert (await served.ask("/livez"))[0].status == 200


@pytest.mark.parametrize(("path", "check"), [("/livez", "send"), ("/readyz", "ledger")])
async def test_says_503_and_why_when_something_is_wrong(
    served: Served, path: str, check: str
) -> None:
    await served.server.close()
    served.server = served.serve(with_check(served.health, check, "it is stuck"))
    await served.server.start()
    response, body = await served.ask(path)
    assert response.status == 503
    assert {"name": check, "status": "error", "message": "it is stuck"} in json.loads(body)[
        "checks"
    ]


async def test_serves_metrics_in_both_formats_under_their_exact_content_types(
    served: Served,
) -> None:
    response, body = await served.ask("/metrics")
    assert response.headers.getall("Content-Type") == ["text/plain; version=0.0.4; charset=utf-8"]
    assert next(each.name for each in text_string_to_metric_families(body.decode())) == "x"
    response, body = await served.ask("/metrics", Accept="application/openmetrics-text")
    (content_type,) = response.headers.getall("Content-Type")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=abc", "text/plain; version=;;,,", "*/*", ""]
)
async def test_serves_metrics_whatever_the_scraper_says_it_accepts(
    served: Served, accept: str
) -> None:
    response, _ = await served.ask("/metrics", Accept=accept)
    assert response.status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_answers_head_like_get_without_a_body(served: Served, path: str) -> None:
    got, body = await served.ask(path)
    response, empty = await served.ask(path, "HEAD")
    assert (response.status, empty) == (200, b"")
    assert response.headers["Content-Type"] == got.headers["Content-Type"]
    assert int(response.headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_refuses_every_other_method(served: Served, path: str, method: str) -> None:
    response, body = await served.ask(path, method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body) == {"error": "method not allowed", "allowed": ["GET", "HEAD"]}


@pytest.mark.parametrize("path", ["/", "/healthz/", "/HEALTHZ", "//healthz", "/%00", "/a/../b"])
async def test_names_the_endpoints_where_there_is_none(served: Served, path: str) -> None:
    answer = await served.raw(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 404 ")
    assert json.loads(body) == {"error": "not found", "endpoints": list(PATHS)}


async def test_ignores_what_follows_the_question_mark(served: Served) -> None:
    assert (await served.ask("/livez?verbose=1"))[0].status == 200


@pytest.mark.parametrize("path", [*PATHS, "/none"])
async def test_says_nothing_of_versions_and_forbids_caching(served: Served, path: str) -> None:
    response, _ = await served.ask(path)
    assert response.headers["Server"] == "whatsapp-worker"
    assert response.headers["Cache-Control"] == "no-store"
    assert set(response.headers) == {
        "Content-Type",
        "Content-Length",
        "Cache-Control",
        "X-Content-Type-Options",
        "Server",
        "Date",
    }  # fmt: skip  A set of names.


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /livez HTTP/9.9",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1",
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * 10000,
        b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
    ],
)
async def test_answers_what_it_cannot_read_with_400_and_no_details(
    served: Served, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    head, body = (await served.raw(request_line + b"\r\n\r\n")).split(b"\r\n\r\n", 1)
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert json.loads(body) == {"error": "bad request"}
    assert b"aiohttp" not in head
    assert caplog.records == []  # A port scanner must not fill the log.
    assert (await served.ask("/livez"))[0].status == 200


async def test_an_endpoint_that_fails_is_logged_and_answered_without_details(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise ValueError("secret")

    await served.server.close()
    served.server = served.serve(replace(served.health, whatsapp=broken))
    await served.server.start()
    response, body = await served.ask("/healthz", Accept="text/html")
    assert (response.status, json.loads(body)) == (500, {"error": "internal error"})
    (line,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert line.name == "whatsapp_worker.web.server"
    assert line.exc_info


async def test_writes_no_access_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await served.ask("/livez")
    assert [each for each in caplog.records if each.name.startswith("aiohttp")] == []


async def test_says_what_to_do_when_the_port_is_taken(served: Served) -> None:
    second = Server("127.0.0.1", served.server.port, WELL, served.registry)
    with pytest.raises(Misconfigured, match=r"HTTP_PORT: port \d+ .* is taken .* free port"):
        await second.start()
    await second.close()
    assert (await served.ask("/livez"))[0].status == 200


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign"), "HTTP_HOST: cannot listen on 192.0.2.1"),
        (OSError(errno.EACCES, "Permission denied"), "HTTP_PORT: this user may not listen on"),
    ],
)
async def test_says_what_to_do_when_it_may_not_listen_there(
    error: OSError, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", refused)
    with pytest.raises(Misconfigured, match=re.escape(advice)):
        await Server("192.0.2.1", 80, WELL, CollectorRegistry()).start()


async def test_has_no_port_before_it_listens() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = Server("127.0.0.1", 0, WELL, CollectorRegistry()).port


async def test_closes_in_bounded_time_though_somebody_holds_a_connection_open(
    served: Served,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
    writer.write(b"GET /livez HT")
    await writer.drain()
    await served.ask("/livez")
    async with asyncio.timeout(8):
        await served.server.close()
        await served.server.close()
    writer.close()


async def test_closes_in_bounded_time_though_an_answer_is_under_way(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Event()

    async def hangs() -> str | None:
        entered.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(server_module, "CLOSING", 0.05)
    await served.server.close()
    served.server = served.serve(replace(served.health, rabbitmq=hangs))
    await served.server.start()
    probe = asyncio.create_task(served.ask("/healthz"))
    await entered.wait()
    async with asyncio.timeout(RABBITMQ_TIMEOUT * 0.75):  # Sooner than the check would end.
        await served.server.close()
    with pytest.raises(aiohttp.ClientError):
        await probe
