"""Rules between settings: what can not work (errors) and what is probably not meant (warnings)."""

import re
from collections.abc import Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whatsapp_worker.errors import Misconfigured
from whatsapp_worker.settings.values import Environment, SenderKind, write_seconds

if TYPE_CHECKING:
    from whatsapp_worker.settings.model import Settings

# The library gives up on a send after 75 s by itself (measured); a limit below that would end the
# process while an answer may still come, and make a second send of what was sent.
LIBRARY_LIMIT = 75.0
SHORTEST_SEND_TIMEOUT = 80.0
PARTS = ("rabbitmq_user", "rabbitmq_password", "rabbitmq_host", "rabbitmq_port", "rabbitmq_vhost")
FILES = ("rabbitmq_ca_file", "rabbitmq_cert_file", "rabbitmq_key_file")


def text(given: str) -> str:
    """Check what every setting needs to be passed on, whatever it is for.

    Raises:
        ValueError: it holds what no file, no address and no log line can.
    """
    if "\0" in given or any("\ud800" <= letter <= "\udfff" for letter in given):
        raise ValueError("must be UTF-8 text without NUL characters")
    return given


def amqp_name(name: str, room: int) -> str:
    """Check the name of a queue or an exchange, of which `room` bytes may be used.

    Raises:
        ValueError: RabbitMQ would refuse it.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError("must not be blank nor hold control characters")
    if len(name.encode()) > room:
        raise ValueError(f"must be at most {room} bytes long")
    if name.startswith("amq."):
        raise ValueError('must not begin with "amq.", which RabbitMQ keeps for itself')
    return name


def phone(number: str) -> str:
    """Check the number of the phone to pair with.

    Raises:
        ValueError: it is not in international form.
    """
    digits = re.sub(r"[ ().-]", "", number)
    if re.fullmatch(r"\+[0-9]{8,15}", digits, re.ASCII) is None:
        raise ValueError("must be a number in international form: + and 8 to 15 digits")
    return digits


def proxy(url: str) -> str:
    """Check the address of a proxy.

    Raises:
        ValueError: no proxy can be there.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https", "socks5"} and parts.hostname and parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be http://, https:// or socks5:// with host and port")
    return url


def errors(settings: "Settings") -> Iterator[str]:
    """What can not work, one line each: the setting's name, the rule, the fix."""
    yield from _tls_errors(settings)
    if settings.failpoint is not None and settings.env is Environment.PRODUCTION:
        yield "FAILPOINT: kills the worker on purpose, never with ENV=production; remove it"
    if settings.whatsapp_sender is SenderKind.NEONIZE:
        if settings.send_timeout < SHORTEST_SEND_TIMEOUT:
            yield (
                f"SEND_TIMEOUT: must be at least {write_seconds(SHORTEST_SEND_TIMEOUT)}, because "
                f"WhatsApp may answer for {write_seconds(LIBRARY_LIMIT)} (default: 90s)"
            )
    elif settings.whatsapp_pair_phone is not None:
        yield "WHATSAPP_PAIR_PHONE: has no use with WHATSAPP_SENDER=sandbox; remove one of the two"
    days = settings.ledger_retention_days
    if days * 24 * 3600 < 2 * _longest_life(settings):
        yield (
            "LEDGER_RETENTION_DAYS: must cover RETRY_DELAYS over MAX_ATTEMPTS twice, or a retry "
            "could be sent again; keep it longer, or shorten the delays"
        )


def _tls_errors(settings: "Settings") -> Iterator[str]:
    secure = settings.amqp_address.startswith("amqps:")
    if settings.rabbitmq_tls and not secure:
        yield "RABBITMQ_TLS: is on, but RABBITMQ_URL says amqp://; write amqps:// there"
    given = [name for name in FILES if getattr(settings, name) is not None]
    if given and not secure:
        yield (
            f"{_names(given)}: has no effect without TLS; set RABBITMQ_TLS=true, or write amqps:// "
            "in RABBITMQ_URL"
        )
    if (settings.rabbitmq_cert_file is None) != (settings.rabbitmq_key_file is None):
        yield "RABBITMQ_CERT_FILE, RABBITMQ_KEY_FILE: need each other; set both or none"
        return
    try:
        settings.ssl_context()
    except Misconfigured as error:
        yield str(error)


def _longest_life(settings: "Settings") -> float:
    """How many seconds a message can spend on the retry ladder."""
    delays = [rung.seconds for rung in settings.retry_delays]
    waits = chain(delays, repeat(delays[-1]))
    return sum(wait for wait, _ in zip(waits, range(settings.max_attempts - 1), strict=False))


def warnings(settings: "Settings") -> Iterator[str]:
    """What works, but is probably not meant: one line each."""
    given = [name for name in PARTS if name in settings.model_fields_set]
    if settings.rabbitmq_url is not None and given:
        yield f"{_names(given)}: not used, because RABBITMQ_URL is set"
    if settings.failpoint is not None:
        yield f"FAILPOINT: is {settings.failpoint}, so the worker kills itself when it gets there"
    if settings.whatsapp_sender is SenderKind.SANDBOX:
        yield "WHATSAPP_SENDER: is sandbox, so nothing is sent to anybody"
        return
    if settings.drain_timeout < SHORTEST_SEND_TIMEOUT:
        yield (
            f"DRAIN_TIMEOUT: below {write_seconds(SHORTEST_SEND_TIMEOUT)} a send in flight may be "
            "cut off when the worker stops, and be made twice"
        )
    if settings.whatsapp_send_interval == 0:
        yield "WHATSAPP_SEND_INTERVAL: is 0; sending without any pause invites a ban"
    if settings.sandbox_rules is not None:
        yield "SANDBOX_RULES: not used, because WHATSAPP_SENDER is neonize"


def _names(fields: list[str]) -> str:
    return ", ".join(field.upper() for field in fields)
