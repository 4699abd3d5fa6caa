"""The address of RabbitMQ: taken apart, put together, and shown without its secrets."""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator


def check_host(name: str) -> str:
    """Check the name of a host, or its IP address; a port does not belong to it.

    Raises:
        ValueError: no host can have it.
    """
    try:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            ip_address(name)
    except ValueError:
        raise ValueError(
            "must be a host name (letters, digits, dots, hyphens) or an IP address, without port"
        ) from None
    return name


Host = Annotated[str, AfterValidator(check_host)]


@dataclass(frozen=True, slots=True)
class Address:
    """Where RabbitMQ is and who we are to it; all parts unescaped.

    Printing it shows no user and no password.
    """

    tls: bool
    user: str = field(repr=False)
    password: str = field(repr=False)
    host: str
    port: int
    vhost: str
    query: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `amqp://user:password@host:port/vhost`.

        What is missing has the defaults every AMQP client uses: guest, guest, 5672 (5671 with
        TLS) and the virtual host "/" (RabbitMQ URI specification).

        Raises:
            ValueError: it is no such address; the text never repeats it.
        """
        if "#" in url:
            raise ValueError("must hold no #: in user and password write it as %23")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(
                "is not an address, or its port is not a number: in user and password write / as "
                "%2F, : as %3A, [ as %5B"
            ) from None
        if parts.scheme not in {"amqp", "amqps"}:
            raise ValueError("must begin with amqp:// or amqps://")
        if "@" in parts.path + parts.query:
            # Behind a password such as "1/x" or "/x" the rest would be shown as the virtual host.
            raise ValueError(
                "has an @ behind the host: in user and password write / as %2F and ? as %3F, in a "
                "virtual host @ as %40"
            )
        if not parts.hostname or any(letter.isspace() for letter in url):
            raise ValueError("must name a host and hold no blanks")
        check_host(parts.hostname)
        tls = parts.scheme == "amqps"
        return cls(
            tls=tls,
            user=unquote(parts.username or "guest"),
            password=unquote("guest" if parts.password is None else parts.password),
            host=parts.hostname,
            port=port or (5671 if tls else 5672),
            vhost=unquote(parts.path[1:]) or "/",
            query=parts.query,
        )

    def url(self) -> str:
        """The whole address, each part escaped."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        query = f"?{self.query}" if self.query else ""
        return f"{self._scheme}://{user}:{password}@{self._place}{query}"

    def public(self) -> str:
        """The address without user, password and options."""
        return f"{self._scheme}://{self._place}"

    @property
    def _scheme(self) -> str:
        return "amqps" if self.tls else "amqp"

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{quote(self.vhost, safe='')}"
