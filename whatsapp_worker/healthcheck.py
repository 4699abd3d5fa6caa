"""`whatsapp-worker healthcheck`: ask the daemon whether it is alive, for the container runtime.

It runs every few seconds, so it imports next to nothing: a bare socket is three times faster to
start than an HTTP library, and the peer is our own server.
"""

import os
import socket
import sys
from time import monotonic

TIMEOUT = 3.0
LONGEST_ANSWER = 4096


def main() -> int:
    """Return 0 if the daemon says it is alive, else 1 after one line on stderr."""
    host, port = _where()
    try:
        status, body = ask(host, port, "/livez")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        sys.stderr.write(f"not alive: no answer from {host}:{port} ({reason})\n")
        return 1
    if status == 200:
        return 0
    sys.stderr.write(f"not alive: /livez says {status} {body}\n")
    return 1


def _where() -> tuple[str, str]:
    """The daemon's own settings tell where it listens; "any address" is asked on loopback."""
    host = os.environ.get("HTTP_HOST") or "0.0.0.0"  # noqa: S104  The daemon's default.
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  What it is replaced by.
    return loopback.get(host, host), os.environ.get("HTTP_PORT") or "8080"


def ask(host: str, port: str, path: str, timeout: float = TIMEOUT) -> tuple[int, str]:
    """GET a path; return the status and the beginning of the body on one line.

    Args:
        host: name or address.
        port: digits.
        path: what to ask for, with its leading slash.
        timeout: seconds for everything together, name lookup excepted.

    Raises:
        OSError: nobody answers, or not in time.
        ValueError: the port is no port, or the answer is not HTTP.
    """
    deadline = monotonic() + timeout
    with socket.create_connection((host, int(port)), timeout) as connection:
        request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while len(answer) < LONGEST_ANSWER:
            connection.settimeout(max(deadline - monotonic(), 0.001))
            if not (part := connection.recv(LONGEST_ANSWER)):
                break
            answer += part
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdecimal():
        raise ValueError("the answer is not HTTP")
    return int(words[1]), " ".join(body.split())
