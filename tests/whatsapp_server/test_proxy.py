"""The proxy leads to the server only, records every dial and resets when told; the server tells."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.whatsapp_server.binary_xml import Codec
from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.installed import token_dictionaries
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.proxy import FORBIDDEN, Proxy
from tests.whatsapp_server.rules import Answer, LoseAck, OnDial, OnMessage, Refuse
from tests.whatsapp_server.server import Unclean, WhatsAppServer

pytestmark = pytest.mark.loopback

WHATSAPP = "web.whatsapp.com:443"
TUNNEL = f"CONNECT {WHATSAPP} HTTP/1.1"
CONNECTED = b"HTTP/1.1 200"
SECONDS = 10


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[int, list[int]]]:
    """A server that sends back what it gets; yields its port, and whence its clients come."""
    ports: list[int] = []

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], ports
    finally:
        server.close()


@asynccontextmanager
async def calling(url: str, request: str) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A client of a proxy that has said one line."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(f"{request}\r\nHost: whatever\r\n\r\n".encode())
            yield reader, writer
    finally:
        writer.close()


async def answer_to(url: str, request: str) -> bytes:
    """All a proxy answers; empty if it hangs up at once."""
    async with calling(url, request) as (reader, _):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Enough for a server whose clients are no WhatsApp clients: there is no copy in it."""
    return Library(tmp_path, KeyPair(), Codec(token_dictionaries()))


async def test_a_tunnel_carries_bytes_both_ways() -> None:
    async with (
        echoing() as (port, _),
        Proxy(lambda _: port) as proxy,
        calling(proxy.url, TUNNEL) as (reader, writer),
    ):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(CONNECTED)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert proxy.dialled == [WHATSAPP]


async def test_a_tunnel_carries_more_than_any_buffer_holds() -> None:
    sent = bytes(range(256)) * 40_000  # 10 MB
    async with (
        echoing() as (port, _),
        Proxy(lambda _: port) as proxy,
        calling(proxy.url, TUNNEL) as (reader, writer),
    ):
        await reader.readuntil(b"\r\n\r\n")

        async def send() -> None:
            writer.write(sent)
            await writer.drain()

        received, _ = await asyncio.gather(reader.readexactly(len(sent)), send())
        assert received == sent


async def test_the_end_of_the_server_is_the_end_of_the_tunnel() -> None:
    async with (
        echoing() as (port, _),
        Proxy(lambda _: port) as proxy,
        calling(proxy.url, TUNNEL) as (reader, writer),
    ):
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b""


async def test_a_tunnel_that_is_reset_breaks_under_the_client() -> None:
    async with (
        echoing() as (port, ports),
        Proxy(lambda _: port) as proxy,
        calling(proxy.url, TUNNEL) as (reader, _),
    ):
        await reader.readuntil(b"\r\n\r\n")
        await eventually(lambda: ports, "the tunnel reached the server")
        proxy.reset(ports[0])
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_what_leads_nowhere_gets_an_answer_and_is_recorded() -> None:
    async with Proxy(lambda _: FORBIDDEN) as proxy:
        assert (await answer_to(proxy.url, "CONNECT example.com:443 HTTP/1.1")).startswith(
            b"HTTP/1.1 403"
        )
        assert proxy.dialled == ["example.com:443"]


async def test_what_is_no_tunnel_is_recorded_too() -> None:
    async with Proxy(lambda _: FORBIDDEN) as proxy:
        await answer_to(proxy.url, "GET http://example.com/ HTTP/1.1")
        assert proxy.dialled == ["GET http://example.com/ HTTP/1.1"]


async def test_a_refused_dial_gets_no_word() -> None:
    async with Proxy(lambda _: Refuse()) as proxy:
        assert await answer_to(proxy.url, TUNNEL) == b""


async def test_an_endless_request_is_cut_off() -> None:
    async with Proxy(lambda _: FORBIDDEN) as proxy:
        assert await answer_to(proxy.url, "CONNECT " + "x" * 100_000) == b""
        assert proxy.dialled == []


async def test_leaving_a_proxy_ends_its_tunnels() -> None:
    async with echoing() as (port, _), AsyncExitStack() as client:
        async with Proxy(lambda _: port) as proxy:
            reader, _ = await client.enter_async_context(calling(proxy.url, TUNNEL))
            await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def serve_a_client_that_dials_a_stranger(library: Library, directory: Path) -> list[str]:
    async with WhatsAppServer(library, directory) as server:
        await answer_to(server.proxy_url, "CONNECT example.com:443 HTTP/1.1")
        return server.strangers


async def serve_a_client_that_goes_past_the_proxy(library: Library, directory: Path) -> bytes:
    async with WhatsAppServer(library, directory) as server:
        return await answer_to(server.environment["HTTPS_PROXY"], TUNNEL)


async def fail_after_a_client_dialled_a_stranger(library: Library, directory: Path) -> None:
    async with WhatsAppServer(library, directory) as server:
        await answer_to(server.proxy_url, "CONNECT example.com:443 HTTP/1.1")
        raise ZeroDivisionError


async def script_what_never_happens(library: Library, directory: Path) -> None:
    async with WhatsAppServer(library, directory) as server:
        server.rules.add(OnMessage(LoseAck()), times=1)


async def test_a_server_says_when_a_client_dialled_a_stranger(
    library: Library, tmp_path: Path
) -> None:
    with pytest.raises(Unclean, match=r"example\.com:443"):
        await serve_a_client_that_dials_a_stranger(library, tmp_path)


async def test_whatsapp_itself_is_a_stranger_past_the_proxy(
    library: Library, tmp_path: Path
) -> None:
    with pytest.raises(Unclean, match=r"web\.whatsapp\.com"):
        await serve_a_client_that_goes_past_the_proxy(library, tmp_path)


async def test_a_failing_test_keeps_its_own_failure_and_learns_of_the_stranger(
    library: Library, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError) as failure:
        await fail_after_a_client_dialled_a_stranger(library, tmp_path)
    assert "example.com" in "".join(failure.value.__notes__)


async def test_a_server_says_what_was_scripted_but_never_happened(
    library: Library, tmp_path: Path
) -> None:
    with pytest.raises(Unclean, match="LoseAck"):
        await script_what_never_happens(library, tmp_path)


async def test_dials_follow_the_rules_and_outages(library: Library, tmp_path: Path) -> None:
    async with WhatsAppServer(library, tmp_path) as server:
        server.rules.add(OnDial(Answer(407)), times=1)
        assert (await answer_to(server.proxy_url, TUNNEL)).startswith(b"HTTP/1.1 407")
        server.go_away()
        assert (await answer_to(server.proxy_url, TUNNEL)).startswith(b"HTTP/1.1 502")
        server.come_back()
        async with calling(server.proxy_url, TUNNEL) as (reader, _):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(CONNECTED)
        assert server.strangers == []


async def test_a_client_is_given_its_way_and_no_other(library: Library, tmp_path: Path) -> None:
    async with WhatsAppServer(library, tmp_path) as server:
        environment = server.environment
        assert environment["WHATSAPP_PROXY_URL"] == server.proxy_url
        proxies = {environment[name] for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")}
        assert len(proxies | {server.proxy_url}) == 2
        assert environment["NO_PROXY"] == ""
        assert Path(environment["SSL_CERT_FILE"]).is_file()
        assert not Path(environment["SSL_CERT_DIR"]).exists()
        assert environment["PYTHONPATH"].startswith(str(tmp_path))
