"""The stand-alone server does what a person types, and shows what happens."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.whatsapp_server.binary_xml import Codec
from tests.whatsapp_server.console import COMMANDS, Console
from tests.whatsapp_server.curve import KeyPair
from tests.whatsapp_server.installed import token_dictionaries
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.people import Device, Letter
from tests.whatsapp_server.server import WhatsAppServer
from tests.whatsapp_server.signal_protocol import Party

pytestmark = pytest.mark.loopback

ALICE = "15551110001"


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[tuple[Console, io.StringIO]]:
    """A console before a server without clients, and what it printed."""
    library = Library(directory, KeyPair(), Codec(token_dictionaries()))
    async with WhatsAppServer(library, directory) as server:
        account = server.add_account("15550000001", "Owner")
        people = {ALICE: server.add_contact(ALICE, "Alice")}
        printed = io.StringIO()
        yield Console(server, account, people, printed), printed


async def typed(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


def linked(console: Console) -> Device:
    number, keys = console.account.next_number(), Party().bundle(one_time=False)
    device = Device(console.account, number, noise_key=bytes(32), keys=keys)
    console.account.devices.append(device)
    return device


async def test_what_is_no_command_gets_the_list_of_commands(tmp_path: Path) -> None:
    async with opened(tmp_path) as (console, printed):
        await console.obey(typed("help"))
        assert printed.getvalue() == COMMANDS + "\n"


async def test_a_person_writes_to_the_linked_devices(tmp_path: Path) -> None:
    async with opened(tmp_path) as (console, _):
        device = linked(console)
        await console.obey(typed(f"say +{ALICE} hello there"))
        assert [node.tag for node in device.waiting.values()] == ["message"]


@pytest.mark.parametrize("line", ["say", f"say {ALICE}", "say 15559999999 hello"])
async def test_nobody_says_nothing_and_nothing_is_said_by_nobody(tmp_path: Path, line: str) -> None:
    async with opened(tmp_path) as (console, printed):
        await console.obey(typed(line))
        assert "say NUMBER TEXT" in printed.getvalue()


@pytest.mark.parametrize("line", ["scan anything", "type ABCD-1234"])
async def test_a_code_nobody_shows_is_told_and_is_no_end(tmp_path: Path, line: str) -> None:
    async with opened(tmp_path) as (console, printed):
        await console.obey(typed(line, "inbox"))
        assert printed.getvalue().splitlines()[1:] == ["Alice: []"]


async def test_nothing_is_done_after_quit(tmp_path: Path) -> None:
    async with opened(tmp_path) as (console, printed):
        await console.obey(typed("quit", "inbox"))
        assert printed.getvalue() == ""


def letter(sender: Device, number: int) -> Letter:
    return Letter(
        id=f"M{number}",
        text=f"text {number}",
        to=ALICE,
        device=0,
        sender=sender,
        encryption="msg",
        kind="conversation",
        extras=(),
        content=b"",
        at=float(number),
    )


async def test_each_letter_is_shown_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (console, printed):
        sender, alice = linked(console), console.people[ALICE]
        watching = asyncio.create_task(console.watch())
        alice.inbox.append(letter(sender, 1))
        await eventually(lambda: "text 1" in printed.getvalue(), "the first is shown")
        alice.inbox.append(letter(sender, 2))
        await eventually(lambda: "text 2" in printed.getvalue(), "the second is shown")
        watching.cancel()
        assert printed.getvalue() == "Alice reads: text 1\nAlice reads: text 2\n"
