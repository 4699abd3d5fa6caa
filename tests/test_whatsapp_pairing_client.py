"""`whatsapp-worker pair`, beside a running worker and alone."""

import asyncio
import io
from pathlib import Path

import pytest

from tests.fakes_whatsapp import FakeClock, FakeLibrary, running, until
from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.session_directory import hold
from whatsapp_worker.settings import QrMode, Settings
from whatsapp_worker.whatsapp import events, keeper
from whatsapp_worker.whatsapp.client import NewClient
from whatsapp_worker.whatsapp.keeper import Surroundings
from whatsapp_worker.whatsapp.pairing import Notice
from whatsapp_worker.whatsapp.pairing_client import pair
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# Beside a running worker --------------------------------------------------------------------------


async def test_shows_the_worker_s_codes_until_a_phone_is_linked(tmp_path: Path) -> None:
    out = io.StringIO()
    async with running(tmp_path) as around, asyncio.TaskGroup() as tasks:
        client = await around.dialled(1)
        await around.hears(events.CodeShown("one", 60), S.PAIRING)
        pairing = tasks.create_task(pair(around.settings, phone=None, out=out))
        await until(lambda: "Link a phone" in out.getvalue())
        client.say(events.Paired())
        client.say(events.Online())

        assert await pairing == 0
    assert len(around.library.clients) == 1
    assert out.getvalue().endswith("Paired: the session is online.\n")


async def test_counts_the_seconds_down_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "whatsapp_worker.whatsapp.pairing_screen.Screen.tick_seconds", property(lambda _: 0.01)
    )
    out = Terminal()
    async with running(tmp_path) as around, asyncio.TaskGroup() as tasks:
        await around.dialled(1)
        await around.hears(events.CodeShown("one", 60), S.PAIRING)
        pairing = tasks.create_task(pair(around.settings, phone=None, out=out))
        await until(lambda: out.getvalue().count("valid for") > 3)
        await around.hears(events.Online(), S.ONLINE)

        assert await pairing == 0


async def test_asks_the_worker_for_a_code_to_type(tmp_path: Path) -> None:
    out = io.StringIO()
    async with running(tmp_path) as around, asyncio.TaskGroup() as tasks:
        client = await around.dialled(1)
        await around.hears(events.CodeShown("one", 60), S.PAIRING)
        pairing = tasks.create_task(pair(around.settings, phone="+55 11 99999-0000", out=out))
        await until(lambda: "ABCD-1234" in out.getvalue())
        await around.hears(events.Online(), S.ONLINE)

        assert await pairing == 0
    assert client.phones == ["5511999990000"]


async def test_takes_a_replaced_session_back(tmp_path: Path) -> None:
    async with running(tmp_path) as around, asyncio.TaskGroup() as tasks:
        await around.online()
        await around.hears(events.Replaced(), S.REPLACED)
        pairing = tasks.create_task(pair(around.settings, phone=None, out=io.StringIO()))
        await around.becomes(S.RECONNECTING)
        around.clock.advance(0)
        await around.dialled(2)
        await around.hears(events.Online(), S.ONLINE)

        assert await pairing == 0


async def test_says_when_whatsapp_refuses(tmp_path: Path) -> None:
    out = io.StringIO()
    async with running(tmp_path) as around:
        await around.online()
        await around.hears(events.Banned(3600, "until noon"), S.BANNED)

        assert await pair(around.settings, phone=None, out=out) == 77
    assert "until noon" in out.getvalue()


async def test_gives_up_in_time(tmp_path: Path) -> None:
    out = io.StringIO()
    async with running(tmp_path) as around:
        await around.dialled(1)

        assert await pair(around.settings, phone=None, out=out, timeout=0.05) == 75
    assert "No phone was linked" in out.getvalue()


async def test_says_when_the_worker_stops(tmp_path: Path) -> None:
    out = io.StringIO()
    async with asyncio.TaskGroup() as tasks:
        async with running(tmp_path) as around:
            await around.dialled(1)
            await around.hears(events.CodeShown("one", 60), S.PAIRING)
            pairing = tasks.create_task(pair(around.settings, phone=None, out=out))
            await until(lambda: "Link a phone" in out.getvalue())
        assert await pairing == 75
    assert "the worker is stopping" in out.getvalue()


async def test_says_when_the_worker_was_killed(tmp_path: Path) -> None:
    directory, out = tmp_path / "session", io.StringIO()
    directory.mkdir()

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()  # With the request unread, the client finds its connection reset.

    async with await asyncio.start_unix_server(drop, str(directory / "pair.sock")):
        code = await pair(settings(directory), phone=None, out=out)

    assert code == 75
    assert out.getvalue() == "The worker has ended.\n"


async def test_says_when_the_worker_is_gone(tmp_path: Path) -> None:
    directory, out = tmp_path / "session", io.StringIO()
    directory.mkdir()

    async def show_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(Notice(S.STARTING, "connecting").to_line())
        writer.close()

    async with await asyncio.start_unix_server(show_one, str(directory / "pair.sock")):
        code = await pair(settings(directory), phone=None, out=out)

    assert code == 75
    assert out.getvalue() == "starting: connecting\nThe worker has ended.\n"


async def test_does_not_understand_somebody_else_s_answers(tmp_path: Path) -> None:
    directory, out = tmp_path / "session", io.StringIO()
    directory.mkdir()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"hello\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, str(directory / "pair.sock")):
        code = await pair(settings(directory), phone=None, out=out)

    assert code == 75
    assert "does not understand" in out.getvalue()


# Alone --------------------------------------------------------------------------------------------


def settings(directory: Path) -> Settings:
    return Settings(whatsapp_session_path=directory, whatsapp_qr=QrMode.STDOUT)


class Alone:
    """`pair` without a worker, with a library of the test's."""

    def __init__(self, directory: Path) -> None:
        self.library, self.clock, self.out = FakeLibrary(), FakeClock(), io.StringIO()
        self.settings = settings(directory)

    async def pair(self, phone: str | None = None, timeout: float = 60.0) -> int:
        surroundings = Surroundings(self.library.load, self.clock.call_later)
        return await pair(
            self.settings, phone=phone, out=self.out, timeout=timeout, surroundings=surroundings
        )

    async def client(self) -> None:
        await until(lambda: self.library.clients)

    def say(self, event: events.Event) -> None:
        self.library.clients[-1].say(event)


async def test_runs_a_session_of_its_own_when_no_worker_does(tmp_path: Path) -> None:
    alone = Alone(tmp_path / "session")
    async with asyncio.TaskGroup() as tasks:
        pairing = tasks.create_task(alone.pair("+5511999990000"))
        await alone.client()
        alone.say(events.CodeShown("one", 60))
        await until(lambda: "ABCD-1234" in alone.out.getvalue())
        alone.say(events.Online())

        assert await pairing == 0
    client = alone.library.clients[0]
    assert client.phones == ["5511999990000"]
    assert client.ended.is_set()
    with hold(tmp_path / "session"):  # It let go of the session.
        pass


async def test_alone_a_refusal_ends_it(tmp_path: Path) -> None:
    alone = Alone(tmp_path / "session")
    async with asyncio.TaskGroup() as tasks:
        pairing = tasks.create_task(alone.pair())
        await alone.client()
        alone.say(events.Outdated())

        assert await pairing == 77


async def test_alone_a_failure_ends_it(tmp_path: Path) -> None:
    alone = Alone(tmp_path / "session")
    alone.library.errors = [TypeError("surprise")]

    assert await alone.pair() == 75


async def test_alone_it_gives_up_in_time_although_the_library_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "HANG_UP_SECONDS", 0.01)
    alone = Alone(tmp_path / "session")
    async with asyncio.TaskGroup() as tasks:
        pairing = tasks.create_task(alone.pair(timeout=0.1))
        await alone.client()
        alone.library.clients[0].deaf = True

        assert await pairing == 75
    alone.library.clients[0].ended.set()


async def test_never_opens_a_session_that_somebody_holds(tmp_path: Path) -> None:
    alone = Alone(tmp_path / "session")
    with hold(tmp_path / "session"):
        assert await alone.pair() == 75

    assert alone.library.clients == []
    assert "in use" in alone.out.getvalue()


async def test_a_broken_installation_is_the_operator_s_to_mend(tmp_path: Path) -> None:
    def load(database: Path, proxy: str | None) -> NewClient:
        raise Misconfigured("neonize is not installed")

    surroundings = Surroundings(load)

    with pytest.raises(Misconfigured, match="not installed"):
        await pair(
            settings(tmp_path / "session"),
            phone=None,
            out=io.StringIO(),
            surroundings=surroundings,
        )
