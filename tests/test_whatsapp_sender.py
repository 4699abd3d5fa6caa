"""Sending: one at a time, watched, and not believing every OK."""

import asyncio
import logging

import pytest

from tests.fakes_whatsapp import FakeClient, envelope, until
from whatsapp_worker.errors import ErrorType, InDoubt, JobError, Refused, Transient, Unavailable
from whatsapp_worker.whatsapp.client import NativeError, Unbuildable
from whatsapp_worker.whatsapp.sender import Sender


def client() -> FakeClient:
    return FakeClient("test", lambda _: None)


def sender(stuck: list[bool] | None = None, send_timeout: float = 60.0) -> Sender:
    told = [] if stuck is None else stuck
    return Sender(send_timeout, lambda: told.append(True))


async def test_sends_the_text_to_the_digits_of_the_destination() -> None:
    phone = client()

    whatsapp_id = await sender().send(phone, envelope("olá", "+5511999990000"))

    assert whatsapp_id == "3EB00000000000000001"
    assert phone.sent == [("5511999990000", "olá")]


async def test_never_sends_two_at_once() -> None:
    phone, one_by_one = client(), sender()

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(one_by_one.send(phone, envelope(str(number))))

    assert phone.most_sending == 1
    assert [text for _, text in phone.sent] == [str(number) for number in range(20)]


async def test_never_sends_two_at_once_when_the_first_was_cancelled() -> None:
    phone, one_by_one = client(), sender()
    phone.held = True
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(one_by_one.send(phone, envelope("first")))
        await until(lambda: phone.sending)
        first.cancel()
        await until(first.done)
        second = tasks.create_task(one_by_one.send(phone, envelope("second")))
        await asyncio.sleep(0)
        assert phone.sending == 1
        phone.release.set()
        await second

    assert first.cancelled()
    assert phone.most_sending == 1
    assert [text for _, text in phone.sent] == ["first", "second"]


async def test_a_failure_nobody_waits_for_any_more_disturbs_nobody() -> None:
    phone, one_by_one = client(), sender()
    phone.held, phone.refusal = True, NativeError("server returned error 400")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(one_by_one.send(phone, envelope()))
        await until(lambda: phone.sending)
        first.cancel()
        await until(first.done)
    phone.release.set()
    await until(lambda: not phone.sending)
    phone.refusal = None

    assert await one_by_one.send(phone, envelope())


async def test_a_call_that_does_not_end_is_told_once_and_is_never_called_in_doubt() -> None:
    stuck: list[bool] = []
    phone, watched = client(), sender(stuck, send_timeout=0.01)
    phone.held = True
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(watched.send(phone, envelope()))
        await until(lambda: stuck)
        await asyncio.sleep(0.05)  # Several times the limit: it is not told again.
        assert not sending.done()
        assert stuck == [True]
        phone.release.set()
        assert await sending

    assert stuck == [True]


async def test_a_call_that_ends_in_time_is_not_stuck() -> None:
    stuck: list[bool] = []

    await sender(stuck).send(client(), envelope())

    assert stuck == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("no LID found for 15551110001@s.whatsapp.net from server", Refused),
        ("server returned error 503", Transient),
        ("websocket not connected", Unavailable),
        ("timed out waiting for message send response", InDoubt),
    ],
)
async def test_the_library_s_words_become_our_errors(words: str, kind: type[Exception]) -> None:
    phone = client()
    phone.refusal = NativeError(words)

    with pytest.raises(kind) as caught:
        await sender().send(phone, envelope())

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_what_cannot_be_built_was_surely_not_sent() -> None:
    phone = client()
    phone.refusal = Unbuildable()

    with pytest.raises(Transient) as caught:
        await sender().send(phone, envelope())

    assert caught.value.error_type is ErrorType.INTERNAL


async def test_a_bug_in_the_library_leaves_the_send_in_doubt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    phone = client()
    phone.refusal = RuntimeError("surprise")

    with pytest.raises(InDoubt):
        await sender().send(phone, envelope())

    assert "failed in a send" in caplog.text


async def test_words_of_a_doubtful_send_are_logged_without_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    phone = client()
    phone.refusal = NativeError("odd trouble with 5511999990000@s.whatsapp.net")

    with pytest.raises(InDoubt):
        await sender().send(phone, envelope())

    assert "odd trouble" in caplog.text
    assert "551199" not in caplog.text


async def test_an_ok_although_the_phone_got_nothing_is_no_success() -> None:
    phone = client()
    phone.unencrypted = ("106784516117871@lid",)

    with pytest.raises(JobError) as caught:
        await sender().send(phone, envelope())

    assert isinstance(caught.value, Transient)
    assert caught.value.error_type is ErrorType.NO_DEVICE
    assert phone.flushed == 1


@pytest.mark.parametrize("devices", [frozenset({0, 12}), None])
async def test_what_only_a_computer_can_read_is_in_doubt(devices: frozenset[int] | None) -> None:
    phone = client()
    phone.unencrypted, phone.devices = ("106784516117871@lid",), devices

    with pytest.raises(InDoubt):
        await sender().send(phone, envelope())


async def test_what_no_device_can_read_was_surely_not_sent() -> None:
    phone = client()
    phone.unencrypted = ("106784516117871:12@lid", "106784516117871@lid")
    phone.devices = frozenset({0, 12})

    with pytest.raises(Transient):
        await sender().send(phone, envelope())


@pytest.mark.parametrize(
    "left_out",
    [
        "111615227028038@lid",  # Our own phone.
        "15550000001@s.whatsapp.net",  # The same, by its number.
        "106784516117871:12@lid",  # A computer linked to the recipient's phone.
    ],
)
async def test_devices_other_than_the_recipient_s_phone_do_not_matter(left_out: str) -> None:
    phone = client()
    phone.unencrypted = (left_out,)

    assert await sender().send(phone, envelope())


async def test_trouble_with_another_message_is_not_ours() -> None:
    phone, watched = client(), sender()
    phone.held = True
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(watched.send(phone, envelope()))
        await until(lambda: phone.sending)
        library = logging.getLogger("whatsmeow.Client")
        library.warning("Failed to encrypt 3EB0OTHER for 106784516117871@lid: no session")
        library.warning("Failed to fetch prekeys for [106784516117871@lid]: timed out")
        phone.release.set()

    assert await sending
    assert not library.handlers
