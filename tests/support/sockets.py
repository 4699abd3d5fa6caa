"""No test reaches beyond this machine, and a unit test opens no network socket at all.

An audit hook sees every connection Python makes, whichever library asks for it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

WATCHED = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"})


class SocketForbidden(BaseException):
    """A test used the network where it must not; no `except Exception` may hide that."""


@dataclass(slots=True)
class SocketGuard:
    """Says which addresses may be used; one for the whole run, because audit hooks stay."""

    loopback: bool = False

    def install(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self._audit)

    @contextmanager
    def allowing_loopback(self) -> Iterator[None]:
        """Addresses of this machine may be used inside."""
        before, self.loopback = self.loopback, True
        try:
            yield
        finally:
            self.loopback = before

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in WATCHED:
            return
        # getaddrinfo(host, ...); the others (socket, address).
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = address[0] if isinstance(address, tuple) else address
        if event != "socket.getaddrinfo" and not isinstance(address, tuple):
            return  # AF_UNIX and the like never leave the machine.
        if not is_loopback(host):
            raise SocketForbidden(f"{event} to {host!r}: tests never leave this machine")
        if not self.loopback and event != "socket.getaddrinfo":
            raise SocketForbidden(f"{event}: a unit test opens no sockets (tests/integration may)")


def is_loopback(host: object) -> bool:
    """Whether a host name or address surely means this machine."""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host in {None, "", "localhost"}:
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False
