"""The stand-alone server as a person uses it: prints what happens, takes commands."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from tests.whatsapp_server.pairing import NoSuchCode, NotLinked
from tests.whatsapp_server.people import Account, Contact
from tests.whatsapp_server.server import WhatsAppServer

LOOK_SECONDS = 0.1
"""Between two looks for new letters: fast for a person, cheap for the machine."""


class Misunderstood(Exception):
    """A line that is no command; the text says what would be one."""


@dataclass(slots=True)
class Console:
    """One person in front of one server.

    Args:
        people: by number, everyone to whom the daemon may write.
        out: a terminal.
    """

    server: WhatsAppServer
    account: Account
    people: dict[str, Contact]
    out: TextIO

    def say(self, text: str) -> None:
        """Print a line at once."""
        self.out.write(text + "\n")
        self.out.flush()

    async def watch(self) -> None:
        """Print each letter once, and who comes and goes, until cancelled."""
        online: frozenset[int] = frozenset()
        read = 0
        while True:
            letters = sorted(
                (letter.at, person.name, letter.text or f"({letter.kind})")
                for person in self.people.values()
                for letter in person.inbox
            )
            for _, name, text in letters[read:]:
                self.say(f"{name} reads: {text}")
            read = len(letters)
            now = frozenset(device.number for device in self.server.online)
            for number in sorted(now - online):
                self.say(f"Device {number} is online.")
            for number in sorted(online - now):
                self.say(f"Device {number} is offline.")
            online = now
            await asyncio.sleep(LOOK_SECONDS)

    async def obey(self, lines: AsyncIterator[str]) -> None:
        """Carry out commands until `quit` or the last of them."""
        async for line in lines:
            name, _, rest = line.strip().partition(" ")
            if name == "quit":
                return
            try:
                await self._command(name)(rest.strip())
            except (Misunderstood, NoSuchCode, NotLinked) as error:
                self.say(str(error))

    def _command(self, name: str) -> Callable[[str], Awaitable[None]]:
        commands = {
            "scan": self._scan,
            "type": self._type,
            "say": self._write,
            "inbox": self._inbox,
            "drop": self._drop,
            "away": self._away,
            "back": self._back,
            "unlink": self._unlink,
        }
        if name not in commands:
            raise Misunderstood(COMMANDS)
        return commands[name]

    async def _scan(self, code: str) -> None:
        await self.server.scan(code, self.account)

    async def _type(self, code: str) -> None:
        await self.server.type_code(code, self.account)

    async def _write(self, rest: str) -> None:
        number, _, text = rest.partition(" ")
        person = self.people.get(number.lstrip("+"))
        if person is None or not text:
            raise Misunderstood("say NUMBER TEXT, with the number of one of the people here")
        await self.server.say(person, text)

    async def _inbox(self, _: str) -> None:
        for person in self.people.values():
            self.say(f"{person.name}: {person.texts}")

    async def _drop(self, _: str) -> None:
        self.server.drop()

    async def _away(self, _: str) -> None:
        self.server.go_away()

    async def _back(self, _: str) -> None:
        self.server.come_back()

    async def _unlink(self, _: str) -> None:
        await self.server.unlink(self.account)


COMMANDS = """\
  scan CODE        the phone scans what a QR code says
  type CODE        the owner types an 8-letter code on the phone
  say NUMBER TEXT  a person writes to the account
  inbox            what everyone has read
  drop             reset all connections
  away, back       begin and end an outage
  unlink           the phone removes all its devices
  quit             end (so does Ctrl-C)"""


async def typed_lines() -> AsyncIterator[str]:
    """The lines of standard input; goes on for ever, even where that ends or is a file.

    It is read only when there is something, and keeps blocking otherwise: the terminal's output may
    be the same open file.
    """
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        chunk = os.read(descriptor, 65536)
        chunks.put_nowait(chunk)
        if not chunk:
            loop.remove_reader(descriptor)

    with suppress(OSError):  # epoll knows no files.
        loop.add_reader(descriptor, read)
    waiting = b""
    try:
        while True:
            *lines, waiting = (waiting + await chunks.get()).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
    finally:
        loop.remove_reader(descriptor)
