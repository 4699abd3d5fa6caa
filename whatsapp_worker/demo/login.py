"""Does a RabbitMQ answer here, and does it let us in?  Asked with the first frames of AMQP 0-9-1.

A client library would do, but the private node is asked many times a second while it boots, and
a client library logs every refusal.
"""

import socket
import struct
from dataclasses import dataclass, field
from urllib.parse import quote

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = (
    struct.pack(">HH", 10, method) for method in (10, 11, 30, 31, 40, 41)
)  # Class 10 is `connection` (AMQP 0-9-1 specification, section 1.4).


@dataclass(frozen=True, slots=True)
class Login:
    """Where a RabbitMQ is and how to get in."""

    port: int
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The AMQP URL, password included: for a setting, never for a log line."""
        user, password, vhost = (quote(x, safe="") for x in (self.user, self.password, self.vhost))
        return f"amqp://{user}:{password}@{self.host}:{self.port}/{vhost}"

    def works(self, timeout: float = 2.0) -> bool:
        """Log in, open the virtual host and hang up: true when all of that was granted.

        Args:
            timeout: seconds to wait for each answer.
        """
        try:
            with socket.create_connection((self.host, self.port), timeout) as connection:
                return self._handshake(connection)
        except (OSError, EOFError):
            return False

    def _handshake(self, connection: socket.socket) -> bool:
        connection.sendall(PROTOCOL_HEADER)
        if not _receive(connection).startswith(START):
            return False
        credentials = f"\0{self.user}\0{self.password}".encode()
        _send(
            connection,
            START_OK
            + struct.pack(">I", 0)  # No client properties.
            + _short(b"PLAIN")
            + struct.pack(">I", len(credentials))
            + credentials
            + _short(b"en_US"),
        )
        if not (tune := _receive(connection)).startswith(TUNE):
            return False
        _send(connection, TUNE_OK + tune[4:])
        _send(connection, OPEN + _short(self.vhost.encode()) + _short(b"") + b"\0")
        return _receive(connection).startswith(OPEN_OK)


def _short(text: bytes) -> bytes:
    return struct.pack(">B", len(text)) + text


def _send(connection: socket.socket, method: bytes) -> None:
    connection.sendall(struct.pack(">BHI", 1, 0, len(method)) + method + b"\xce")


def _receive(connection: socket.socket) -> bytes:
    size = struct.unpack(">BHI", _exactly(connection, 7))[2]
    return _exactly(connection, size + 1)[:-1]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise EOFError
        data += more
    return data
