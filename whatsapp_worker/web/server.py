"""The side server: health and metrics over HTTP, to be read only."""

import asyncio
import errno
import json
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.web.health import Answer, Health, RabbitMQCheck, healthz, livez, readyz

METHODS = ("GET", "HEAD")
CLOSING = 5.0
"""Seconds that answers under way may still take when the server closes (seed 003)."""

log = logging.getLogger(__name__)

Endpoint = Callable[[web.BaseRequest], Awaitable[web.Response]]


class Server:
    """Serves `/healthz`, `/livez`, `/readyz` and `/metrics`.

    Args:
        host: address to listen on (HTTP_HOST).
        port: port to listen on (HTTP_PORT); 0 takes any free one.
        health: what the health answers are made of.
        registry: what `/metrics` shows.
        clock: seconds that never go back, for the five seconds a check's result is kept.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Health,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._host = host
        self._port = port
        self._health = health
        self._registry = registry
        self._rabbitmq = RabbitMQCheck(health.rabbitmq, clock=clock)
        self._runner: web.ServerRunner | None = None
        self.endpoints: dict[str, Endpoint] = {
            "/healthz": self._healthz,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
        }

    async def start(self) -> None:
        """Listen; raises Misconfigured if that address and port cannot be had."""
        runner = web.ServerRunner(_Quiet(self._answer), shutdown_timeout=CLOSING)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, backlog=32).start()
        except OSError as error:
            await runner.cleanup()
            raise Misconfigured(_advice(self._host, self._port, error)) from error
        self._runner = runner
        log.info("health and metrics are served on %s, port %d", self._host, self.port)

    @property
    def port(self) -> int:
        """The port it listens on, which is news if 0 was asked for; only after `start`."""
        if self._runner is None:
            raise RuntimeError("the side server has not been started")
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening and end open connections, within five seconds; may be repeated."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        endpoint = self.endpoints.get(request.path)
        if endpoint is None:
            return _json({"error": "not found", "endpoints": list(self.endpoints)}, status=404)
        if request.method not in METHODS:
            response = _json({"error": "method not allowed", "allowed": METHODS}, status=405)
            response.headers["Allow"] = ", ".join(METHODS)
            return response
        return await endpoint(request)

    async def _healthz(self, _: web.BaseRequest) -> web.Response:
        return _health(healthz(await self._rabbitmq.problem(), self._health.whatsapp()))

    async def _livez(self, _: web.BaseRequest) -> web.Response:
        return _health(livez(self._health))

    async def _readyz(self, _: web.BaseRequest) -> web.Response:
        return _health(readyz(self._health))

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # It asks for a version that is none.
            encode, content_type = choose_encoder("")
        return _response(encode(self._registry), content_type)


class _Quiet(web.Server):
    """Makes connections that tell strangers nothing, and expect little of them."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # Documented: None writes none.
            max_line_size=2048,
            max_headers=64,
            max_field_size=4096,
            keepalive_timeout=15,
            lingering_time=1,
            auto_decompress=False,
        )


class _Connection(web.RequestHandler):
    """One connection; answers errors in our own form."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not read, or what failed in an endpoint."""
        level = logging.ERROR if status >= 500 else logging.DEBUG
        log.log(
            level, "an HTTP request could not be answered", exc_info=exc if status >= 500 else None
        )
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had already begun")
        error = "internal error" if status >= 500 else "bad request"
        response = _json({"error": error}, status=status)
        response.force_close()
        return response


def _health(answer: Answer) -> web.Response:
    return _json(answer.body, status=200 if answer.healthy else 503)


def _json(body: object, *, status: int) -> web.Response:
    text = json.dumps(body, separators=(",", ":"))
    return _response(text.encode(), "application/json", status)


def _response(body: bytes, content_type: str, status: int = 200) -> web.Response:
    """Return a response; Content-Type is set as it is, since aiohttp would take it apart."""
    return web.Response(
        body=body,
        status=status,
        headers={
            "Content-Type": content_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Server": "whatsapp-worker",  # Otherwise aiohttp names itself and its version.
        },
    )


def _advice(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"HTTP_PORT: port {port} on {host} is taken by another process. "
            "Stop that, or set HTTP_PORT to a free port (0 takes any)."
        )
    if error.errno == errno.EACCES:
        return f"HTTP_PORT: this user may not listen on port {port}. Set a port above 1023."
    return (
        f"HTTP_HOST: cannot listen on {host} ({error.strerror or type(error).__name__}). "
        "Set an address of this machine, or 0.0.0.0 for all of them."
    )
