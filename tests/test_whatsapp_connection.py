"""The session's connection: lost, found, and refused."""

import asyncio
import logging
from pathlib import Path
from threading import Event

import pytest

from tests.fakes_whatsapp import running, running_world, until, world
from whatsapp_worker.whatsapp import events, keeper
from whatsapp_worker.whatsapp.client import NativeError
from whatsapp_worker.whatsapp.states import BAN_MARGIN, RECONNECT_LIMIT, WhatsAppState

S = WhatsAppState
DIAL_FAILED = "failed to dial whatsapp web websocket: got 503"


async def test_the_first_connection_is_retried_with_growing_pauses(tmp_path: Path) -> None:
    around = world(tmp_path)
    around.library.errors = [NativeError(DIAL_FAILED)] * 3
    async with running_world(around):
        for dials, pause in ((1, 2.0), (2, 4.0), (3, 8.0)):
            await around.failed(dials)
            assert around.whatsapp.state is S.STARTING
            around.clock.advance(pause - 0.5)
            assert len(around.library.clients) == dials
            around.clock.advance(0.5)
            await around.dialled(dials + 1)
        around.client.say(events.Online())
        await around.becomes(S.ONLINE)


async def test_an_outage_is_one_line_not_one_for_every_try(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    around = world(tmp_path)
    around.library.errors = [NativeError(DIAL_FAILED)] * 5
    async with running_world(around):
        for dials in range(1, 6):
            await around.failed(dials)
            around.clock.advance(120)
            await around.dialled(dials + 1)

    lines = [record.getMessage() for record in caplog.records]
    assert sum("connecting to WhatsApp failed" in line for line in lines) == 1
    assert sum("cannot be reached" in line for line in lines) == 1


async def test_the_library_reconnects_first_and_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.online()
        await around.hears(events.Offline(), S.RECONNECTING)
        around.clock.advance(RECONNECT_LIMIT - 1)
        await around.hears(events.Online(), S.ONLINE)
        around.clock.advance(RECONNECT_LIMIT * 10)

        assert len(around.library.clients) == 1


async def test_a_long_outage_is_ended_by_a_connection_of_our_own(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        first = await around.online()
        await around.hears(events.Offline(), S.RECONNECTING)
        around.clock.advance(RECONNECT_LIMIT)
        await until(lambda: first.stops)
        around.clock.advance(0)
        second = await around.dialled(2)

        assert second.name != first.name
        assert around.whatsapp.state is S.RECONNECTING
        second.say(events.Online())
        await around.becomes(S.ONLINE)


async def test_what_an_old_connection_still_says_is_not_heard(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        first = await around.online()
        await around.hears(events.Offline(), S.RECONNECTING)
        around.clock.advance(RECONNECT_LIMIT)
        await until(lambda: first.ended.is_set())
        around.clock.advance(0)
        second = await around.dialled(2)
        second.say(events.Online())
        await around.becomes(S.ONLINE)
        first.say(events.LoggedOut("old"))
        second.say(events.Offline())
        await around.becomes(S.RECONNECTING)


async def test_a_silent_end_of_the_connection_is_noticed(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        around.clock.advance(keeper.POLL_SECONDS)
        await asyncio.sleep(0.02)
        assert around.whatsapp.online
        client.up = False
        around.clock.advance(keeper.POLL_SECONDS)
        await around.becomes(S.RECONNECTING)


async def test_a_library_too_busy_dialling_to_answer_counts_as_offline(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        client.dialling = Event()
        around.clock.advance(keeper.POLL_SECONDS)
        assert around.whatsapp.online
        around.clock.advance(keeper.POLL_SECONDS)
        await around.becomes(S.RECONNECTING)
        client.dialling.set()


async def test_an_answer_that_events_have_overtaken_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        client.dialling, client.up = Event(), False
        around.clock.advance(keeper.POLL_SECONDS)
        await around.hears(events.Offline(), S.RECONNECTING)
        await around.hears(events.Online(), S.ONLINE)
        client.dialling.set()
        await until(lambda: client.answers == 1)
        await asyncio.sleep(0.01)

        assert around.whatsapp.online


async def test_a_connection_that_ends_by_itself_is_begun_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        client.ended.set()
        await around.becomes(S.RECONNECTING)
        around.clock.advance(2)
        await around.dialled(2)


async def test_a_bug_in_the_library_is_a_failure_retried_slowly(tmp_path: Path) -> None:
    around = world(tmp_path)
    around.library.errors = [TypeError("surprise")]
    async with running_world(around):
        await around.becomes(S.FAILED)
        around.clock.advance(59)
        assert len(around.library.clients) == 1
        around.clock.advance(1)
        await around.dialled(2)


async def test_time_passes_by_the_loop_s_clock() -> None:
    called = asyncio.Event()
    keeper.Surroundings().call_later(0.0, called.set)
    keeper.Surroundings().call_later(0.0, lambda: pytest.fail("it was cancelled")).cancel()

    async with asyncio.timeout(5):
        await called.wait()


async def test_many_connections_ask_for_a_fresh_process_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MOST_DIALS", 3)
    around = world(tmp_path)
    around.library.errors = [NativeError(DIAL_FAILED)] * 5
    async with running_world(around):
        for dials in range(1, 6):
            await around.failed(dials)
            assert len(around.restarts) == (dials >= 3)
            around.clock.advance(120)
            await around.dialled(dials + 1)


async def test_a_replaced_session_never_reconnects_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        client = await around.online()
        await around.hears(events.Replaced(), S.REPLACED)
        await until(lambda: client.ended.is_set())
        around.clock.advance(30 * 86400)
        await asyncio.sleep(0.02)

        assert len(around.library.clients) == 1
        assert around.whatsapp.state is S.REPLACED
        assert "restart" in (around.reports[-1] or "")


async def test_a_person_takes_a_replaced_session_back(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.online()
        await around.hears(events.Replaced(), S.REPLACED)
        around.whatsapp.ask(None)
        around.clock.advance(0)
        await around.dialled(2)
        await around.hears(events.Online(), S.ONLINE)


async def test_a_ban_is_waited_out_to_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.online()
        await around.hears(events.Banned(3600, "until noon"), S.BANNED)
        around.whatsapp.ask(None)  # A person cannot shorten it.
        around.clock.advance(3600 + BAN_MARGIN - 1)
        await asyncio.sleep(0.02)
        assert len(around.library.clients) == 1
        around.clock.advance(1)
        await around.dialled(2)
        await around.hears(events.Online(), S.ONLINE)


async def test_being_logged_out_leads_to_pairing_with_the_gate_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.online()
        told = len(around.reports)
        await around.hears(events.LoggedOut("this device was unlinked"), S.LOGGED_OUT)
        around.clock.advance(2)
        await around.dialled(2)
        assert around.whatsapp.state is S.LOGGED_OUT
        await around.hears(events.CodeShown("qr", 60), S.PAIRING)
        await around.hears(events.Paired(), S.STARTING)
        assert None not in around.reports[told:]
        await around.hears(events.Online(), S.ONLINE)
        assert around.reports[-1] is None


async def test_an_outdated_client_stays_down_and_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path) as around:
        await around.dialled(1)
        await around.hears(events.Outdated(), S.OUTDATED)
        around.clock.advance(86400)
        await asyncio.sleep(0.02)

        assert len(around.library.clients) == 1
        assert "upgrade" in around.whatsapp.why
