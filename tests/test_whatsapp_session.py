"""The session as a whole: how it begins, pairs, sends and ends."""

import asyncio
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.fakes_whatsapp import FakeClient, envelope, running, running_world, until, world
from whatsapp_worker.errors import Misconfigured, PauseReason, Unavailable
from whatsapp_worker.whatsapp import events, keeper
from whatsapp_worker.whatsapp.client import NativeError
from whatsapp_worker.whatsapp.states import WhatsAppState

S = WhatsAppState
DIAL_FAILED = "failed to dial whatsapp web websocket: got 503"


async def test_connects_says_so_and_opens_the_gate(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        assert around.whatsapp.state is S.STARTING
        await around.online()

        assert around.whatsapp.online
        assert around.reports[-1] is None
        assert around.reports[0] is not None
        assert await around.whatsapp.send(envelope()) == "3EB00000000000000001"


async def test_session_files_are_the_owner_s_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.online()
        directory = tmp_path / "session"

        assert around.library.loaded == (directory / "whatsapp.db", None)
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {file.name for file in directory.iterdir()} == {"whatsapp.db", "pair.sock"}
        assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}


async def test_the_proxy_is_passed_on(tmp_path: Path) -> None:
    async with running(tmp_path, whatsapp_proxy_url=SecretStr("http://127.0.0.1:1")) as around:
        assert around.library.loaded is not None
        assert around.library.loaded[1] == "http://127.0.0.1:1"


async def test_nothing_is_sent_while_not_online(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.dialled(1)

        with pytest.raises(Unavailable) as caught:
            await around.whatsapp.send(envelope())

        assert caught.value.reason is PauseReason.WHATSAPP
        assert client.sent == []


async def test_a_send_that_finds_no_connection_closes_the_gate(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        client.refusal = NativeError("failed to send message node: websocket not connected")

        with pytest.raises(Unavailable):
            await around.whatsapp.send(envelope())

        await around.becomes(S.RECONNECTING)
        assert around.reports[-1] is not None


async def test_a_stuck_send_asks_for_the_end_of_the_process(tmp_path: Path) -> None:
    around = world(tmp_path)
    around.whatsapp._sender._send_timeout = 0.01
    async with running_world(around):
        client = await around.online()
        client.held = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(around.whatsapp.send(envelope()))
            await until(lambda: around.stuck)
            client.release.set()


async def test_rounds_of_codes_are_renewed_for_ever(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        for dials, pause in ((1, 2), (2, 8), (3, 32), (4, 128), (5, 512), (6, 600), (7, 600)):
            client = await around.dialled(dials)
            client.say(events.CodeShown(f"qr-{dials}", 60))
            await around.shows(f"qr-{dials}")
            client.say(events.PairingFailed())
            await around.shows(None)
            assert around.whatsapp.state is S.PAIRING
            around.clock.advance(pause)


async def test_a_round_whose_connection_broke_is_over(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.dialled(1)
        await around.hears(events.CodeShown("qr", 60), S.PAIRING)
        client.up = False
        around.clock.advance(keeper.POLL_SECONDS)
        await around.shows(None)
        around.clock.advance(2)
        await around.dialled(2)


async def test_a_connection_that_never_ends_does_not_keep_the_next_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "HANG_UP_SECONDS", 0.01)
    async with running(tmp_path) as around:
        client = await around.dialled(1)
        client.deaf = True
        await around.hears(events.CodeShown("qr", 60), S.PAIRING)
        client.say(events.PairingFailed())
        await until(lambda: client.stops)
        around.clock.advance(2)
        await around.dialled(2)
        await around.hears(events.Online(), S.ONLINE)

        assert around.whatsapp.may_hang_at_exit


async def test_a_person_who_asks_gets_new_codes_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.dialled(1)
        await around.hears(events.CodeShown("old", 60), S.PAIRING)
        client.say(events.PairingFailed())
        await around.shows(None)
        around.whatsapp.ask(None)
        around.clock.advance(0)
        await around.dialled(2)


async def test_a_person_who_asks_while_the_last_connection_still_ends_is_served_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as around:
        client = await around.dialled(1)
        client.deaf = True
        await around.hears(events.CodeShown("old", 60), S.PAIRING)
        client.say(events.PairingFailed())
        await until(lambda: client.stops)
        around.clock.advance(2)
        await asyncio.sleep(0.01)  # The next connection waits for the end of the last.
        around.whatsapp.ask(None)
        around.clock.advance(0)
        client.ended.set()
        await around.dialled(2)
        await asyncio.sleep(0.02)

        assert len(around.library.clients) == 2


async def test_no_code_reaches_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(tmp_path, whatsapp_pair_phone=SecretStr("+55 11 99999-0000")) as around:
        client = await around.dialled(1)
        client.say(events.CodeShown("2@login-secret", 60))
        await until(lambda: around.whatsapp.board.notice.phone_code)

        assert client.phones == ["5511999990000"]
    assert "whatsapp-worker pair" in caplog.text
    for secret in ("login-secret", "ABCD", "99999"):
        assert secret not in caplog.text


async def test_closing_hangs_up_and_waits_for_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        await around.whatsapp.close()

        assert around.whatsapp.state is S.STOPPED
        assert client.ended.is_set()
        assert not around.whatsapp.may_hang_at_exit
        assert around.reports[-1] == "the worker is stopping"


async def test_closing_never_waits_long_for_a_library_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "HANG_UP_SECONDS", 0.05)
    async with running(tmp_path) as around:
        client = await around.online()
        client.deaf = True
        async with asyncio.timeout(2):
            await around.whatsapp.close()

        assert around.whatsapp.may_hang_at_exit
        assert not client.ended.is_set()


async def test_closing_before_anything_was_begun_is_fine(tmp_path: Path) -> None:
    around = world(tmp_path)

    await around.whatsapp.close()

    assert around.whatsapp.state is S.STOPPED


async def test_an_unusable_session_directory_is_the_operator_s_to_mend(tmp_path: Path) -> None:
    (tmp_path / "session").write_text("a file")

    with pytest.raises(Misconfigured, match="WHATSAPP_SESSION_PATH"):
        await world(tmp_path).whatsapp.run()


async def test_events_after_the_loop_has_ended_are_nobody_s_trouble(tmp_path: Path) -> None:
    def one_life() -> FakeClient:
        async def live() -> FakeClient:
            async with running(tmp_path) as around:
                return await around.online()

        return asyncio.run(live())

    client = await asyncio.to_thread(one_life)

    client.say(events.Offline())
