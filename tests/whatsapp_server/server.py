"""A local WhatsApp for one test: the real client library pairs with it, sends and receives.

    async with WhatsAppServer(library, tmp_path) as server:
        account = server.add_account("15550000001")
        alice = server.add_contact("15551110001", "Alice")
        ...  # Start a client process with `server.environment`; it shows a QR code.
        await server.scan(qr, account)
        ...  # It sends.
        assert alice.texts == ["On my way"]

All of it runs in the event loop of the test; nothing but 127.0.0.1 is used.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from tests.whatsapp_server.certificates import make_tls
from tests.whatsapp_server.connection import Identity
from tests.whatsapp_server.endpoint import Endpoint
from tests.whatsapp_server.environment import client_environment
from tests.whatsapp_server.journal import Anomaly, Journal
from tests.whatsapp_server.library import Library
from tests.whatsapp_server.media import MediaHost
from tests.whatsapp_server.people import Account, Contact, Device, Letter
from tests.whatsapp_server.proxy import FORBIDDEN, Proxy
from tests.whatsapp_server.reception import REPLACED, Reception
from tests.whatsapp_server.rulebook import Rulebook
from tests.whatsapp_server.rules import Answer, Refuse
from tests.whatsapp_server.stanza import Node
from tests.whatsapp_server.world import MEDIA_HOST, WEBSOCKET_HOST, World

OURS = (f"{WEBSOCKET_HOST}:443", f"{MEDIA_HOST}:443")
AWAY = Answer(502)


class Unclean(AssertionError):
    """Something happened at this server that no test may overlook."""


class WhatsAppServer:
    """One server, for as long as its context lasts.

    Leaving the context raises `Unclean` if a client dialled anything that is not WhatsApp, or if a
    counted rule never applied; and whatever went wrong while the server served a client.  If the
    test fails already, its failure gets notes instead.

    Args:
        library: made once per test run.
        directory: takes its certificates; may hold other things.

    Attributes:
        rules: what is to go wrong, see `rules`.
        journal: every stanza (the newest 2000), and `anomalies`.
    """

    def __init__(self, library: Library, directory: Path) -> None:
        self._library = library
        self._world = World()
        self.rules: Rulebook = self._world.rules
        self.journal: Journal = self._world.journal
        self._reception = Reception(self._world, Identity.certified_by(library.root))
        self._media = MediaHost(self.rules)
        self._proxy, self._tripwire = Proxy(self._lead), Proxy(lambda _: FORBIDDEN)
        self._tls = make_tls(directory, WEBSOCKET_HOST, MEDIA_HOST)
        self._endpoint = Endpoint(
            self._world,
            self._reception,
            self._media,
            codec=library.codec,
            tls=self._tls.server,
            reset=self._proxy.reset,
        )
        self._away = False
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._endpoint)
            await opening.enter_async_context(self._proxy)
            await opening.enter_async_context(self._tripwire)
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.rules.thaw()
        await self._open.aclose()
        problems = self._problems()
        if error is not None:
            for problem in problems:
                error.add_note(repr(problem))
        elif problems:
            raise problems[0] if len(problems) == 1 else ExceptionGroup("at the server", problems)

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of a client process, when it is executed.

        Its way to WhatsApp is WHATSAPP_PROXY_URL; whatever tries another one is refused and
        recorded in `strangers`.
        """
        return client_environment(
            self._library.directory,
            self._tls.ca_file,
            proxy=self.proxy_url,
            tripwire=self._tripwire.url,
        )

    @property
    def proxy_url(self) -> str:
        """The proxy behind which this server is WhatsApp."""
        return self._proxy.url

    def add_contact(
        self,
        number: str,
        name: str = "",
        *,
        devices: int = 1,
        registered: bool = True,
        receipts: bool = True,
    ) -> Contact:
        """Let a person exist to whom clients can write.

        Args:
            number: digits only; invented ones begin with 1555.
            name: as shown with messages of this person.
            devices: on how many devices this person reads.
            registered: False for a number that is not on WhatsApp.
            receipts: whether its devices confirm each delivery.

        Raises:
            ValueError: there cannot be such a person.
        """
        return self._world.people.add(
            number, name, devices=devices, registered=registered, receipts=receipts
        )

    def add_account(self, number: str, name: str = "") -> Account:
        """Let a person exist whose phone can link clients; raises as `add_contact`."""
        return self._world.people.add_account(number, name)

    async def scan(self, qr: str, account: Account) -> Device:
        """The phone of an account scans a code a client shows; returns what it linked.

        Raises:
            NoSuchCode: no client shows it (any longer).
            NotLinked: the client would not have it.
        """
        return await self._reception.pairing.scan(qr, account)

    async def type_code(self, code: str, account: Account) -> Device:
        """The owner of an account types a code on the phone; returns what it linked.

        Raises:
            NoSuchCode: no client asked for one for this number, or it shows another.
            NotLinked: the client would not have it.
        """
        return await self._reception.pairing.type_code(code, account)

    @property
    def devices(self) -> tuple[Device, ...]:
        """All linked clients."""
        return tuple(self._world.people.devices)

    @property
    def online(self) -> tuple[Device, ...]:
        """The linked clients that are logged in."""
        return tuple(device for device in self.devices if device.line is not None)

    async def say(self, contact: Contact, text: str, account: Account | None = None) -> str:
        """A person writes to an account (or to the only one); returns the message's id.

        Its clients get it now or when they are back.

        Raises:
            ValueError: which account?
        """
        return self._reception.messages.write(contact, text, account or self._only_account())

    async def receipt(self, contact: Contact, letter: Letter, kind: str = "read") -> None:
        """A person's device tells what became of a letter.

        Args:
            kind: "delivered", "read", "played", "server-error", ...
        """
        self._reception.messages.confirm(contact, letter, kind)

    async def ask_retry(self, contact: Contact, letter: Letter) -> None:
        """A person's device could not decrypt a letter and asks for it again."""
        self._reception.messages.ask_again(contact, letter)

    def attachment(self, letter: Letter) -> bytes:
        """The file that came with a letter, decrypted and checked.

        Raises:
            ValueError: it has none.
            Damaged: it is not the file its message describes.
        """
        return self._media.attachment(letter)

    def drop(self) -> None:
        """Reset the TCP connections of all clients; they may come back."""
        for connection in list(self._endpoint.connections):
            connection.reset()
        self._proxy.reset_all()  # Those that are still shaking hands, and uploads.

    def close(self) -> None:
        """Close the websockets of all clients in order; they may come back."""
        for connection in list(self._endpoint.connections):
            connection.hang_up()

    def go_away(self) -> None:
        """Begin an outage: all connections are reset, and the proxy answers 502."""
        self._away = True
        self.drop()

    def come_back(self) -> None:
        """End the outage."""
        self._away = False

    async def stream_error(self, code: int | None = None, conflict: str | None = None) -> None:
        """Tell all logged in clients that their session ends, and close."""
        inside = [Node("conflict", {"type": conflict})] if conflict else None
        _end_all(self.online, Node("stream:error", {"code": code}, inside))

    async def take_over(self) -> None:
        """Another client logs in with the same keys: the ones that are logged in must go."""
        _end_all(self.online, REPLACED)

    async def unlink(self, account: Account) -> None:
        """The owner removes all linked devices on the phone."""
        gone = Node("stream:error", {"code": 401}, [Node("conflict", {"type": "device_removed"})])
        _end_all(account.devices, gone)
        account.devices.clear()

    @property
    def dialled(self) -> list[str]:
        """Every "host:port" a client wanted to reach through the proxy, in order."""
        return self._proxy.dialled

    @property
    def strangers(self) -> list[str]:
        """What clients wanted to reach that is not WhatsApp, or past the proxy."""
        return [target for target in self.dialled if target not in OURS] + self._tripwire.dialled

    @property
    def anomalies(self) -> list[Anomaly]:
        """Messages somebody would miss although the client may believe they arrived."""
        return self.journal.anomalies

    def _only_account(self) -> Account:
        accounts = self._world.people.accounts
        if len(accounts) != 1:
            raise ValueError(f"to which of {len(accounts)} accounts?")
        return accounts[0]

    def _problems(self) -> list[Exception]:
        problems = list(self._endpoint.failures)
        if self.strangers:
            problems.append(Unclean(f"a client dialled {sorted(set(self.strangers))}"))
        if never := self.rules.never_applied:
            problems.append(Unclean(f"scripted, but it never happened: {never}"))
        return problems

    def _lead(self, target: str) -> int | Answer | Refuse:
        if target not in OURS:
            return FORBIDDEN
        return AWAY if self._away else self.rules.on_dial() or self._endpoint.port


def _end_all(devices: Iterable[Device], last_word: Node) -> None:
    for device in devices:
        if device.line is not None:
            device.line.send(last_word)
            device.line.hang_up()
