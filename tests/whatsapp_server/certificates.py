"""TLS for names that are not ours: a throw-away authority and one server certificate."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=2)
CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tls:
    """What both ends need.

    Attributes:
        ca_file: for a client's SSL_CERT_FILE; Go reads that variable once, at exec (measured).
        server: the context the server listens with.
    """

    ca_file: Path
    server: ssl.SSLContext


def make_tls(directory: Path, *hosts: str) -> Tls:
    """Make an authority and a certificate for `hosts`; their files go to `directory`."""
    ca_key, key = _new_key(), _new_key()
    ca_name = _name("CA of the local WhatsApp server")
    ca = _builder(ca_name, ca_name, ca_key, is_ca=True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    builder = _builder(_name(hosts[0]), ca_name, key, is_ca=False).add_extension(names, False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    ca_file, server_file = directory / "ca.pem", directory / "server.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    server_file.write_bytes(_private(key) + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_file)
    return Tls(ca_file, context)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
