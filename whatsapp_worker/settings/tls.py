"""TLS towards RabbitMQ."""

import ssl
from pathlib import Path

from whatsapp_worker.errors import Misconfigured


def context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Trust `ca` (None: the system's authorities) and show `certificate` if there is one.

    Raises:
        Misconfigured: a file can not be read, or certificate and key do not belong together.
    """
    try:
        made = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"RABBITMQ_CA_FILE: {_why(error)}") from error
    if certificate is None:
        return made
    try:
        made.load_cert_chain(certificate, key, password=_refuse_to_ask)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Misconfigured(f"RABBITMQ_CERT_FILE, RABBITMQ_KEY_FILE: {_why(error)}") from error
    return made


def _refuse_to_ask() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask on the terminal, and wait.


def _why(error: Exception) -> str:
    match error:
        case ssl.SSLError():
            return "no usable certificate and key in PEM format; check that they belong together"
        case OSError():
            return f"can not be read ({error.strerror}); check path and permissions"
        case _:
            return "the private key is encrypted; give one without a passphrase"
