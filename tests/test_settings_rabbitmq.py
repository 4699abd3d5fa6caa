"""The settings that lead to RabbitMQ: its address, and TLS."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.support.settings import SECRET, complaints
from whatsapp_worker.settings import (
    load_settings,
)
from whatsapp_worker.settings.address import Address

Certificates = dict[str, Path]


@pytest.fixture
def certificates() -> Certificates:
    """A certificate with its key, that key encrypted, and a key of somebody else."""
    directory = Path(__file__).parent / "corpus" / "tls"
    return {name: directory / f"{name}.pem" for name in ("cert", "key", "locked", "other")}


def test_the_url_replaces_all_parts_and_says_so() -> None:
    settings = load_settings(
        {"RABBITMQ_URL": "amqps://u:p@broker:5699/v", "RABBITMQ_USER": "x", "RABBITMQ_HOST": "y"}
    )
    assert settings.amqp_url.get_secret_value() == "amqps://u:p@broker:5699/v"
    assert settings.warnings == (
        "RABBITMQ_USER, RABBITMQ_HOST: not used, because RABBITMQ_URL is set",
    )


@given(
    user=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1),
    password=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])),
    vhost=st.text("ab/ %:@?#&+é", min_size=1),
)
def test_whatever_the_credentials_hold_arrives_as_it_is(
    user: str, password: str, vhost: str
) -> None:
    address = Address(False, user, password, "rabbitmq", 5672, vhost)
    assert Address.parse(address.url()) == address
    url = URL(address.url())  # What aiormq makes of it.
    assert (url.user, url.password or "") == (user, password)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("amqp://h", "amqp://h:5672/%2F"),
        ("amqp://h/", "amqp://h:5672/%2F"),
        ("amqps://h/%2F", "amqps://h:5671/%2F"),
        ("amqp://h//", "amqp://h:5672/%2F"),
        ("amqp://h:1/a/b", "amqp://h:1/a%2Fb"),
        ("AMQP://u:p@[::1]:5672/v", "amqp://[::1]:5672/v"),
        ("amqp://u:p@h/v?heartbeat=5", "amqp://h:5672/v"),
    ],
)
def test_urls_are_read_as_every_amqp_client_reads_them(url: str, public: str) -> None:
    settings = load_settings({"RABBITMQ_URL": url})
    assert settings.amqp_address == public


def test_a_url_without_credentials_means_guest() -> None:
    assert Address.parse("amqp://h/v").url() == "amqp://guest:guest@h:5672/v"


def test_an_unescaped_at_sign_or_per_cent_in_a_password_is_forgiven() -> None:
    assert Address.parse("amqp://u:p@ss%x@h/v") == Address(False, "u", "p@ss%x", "h", 5672, "v")


@pytest.mark.parametrize("host", ["rabbitmq:5672", "[::1]", "a/b", "u@h", "a b", "amqp://h"])
def test_a_host_has_no_port_and_nothing_else_of_an_address(host: str) -> None:
    [line] = complaints(RABBITMQ_HOST=host)
    assert line.startswith("RABBITMQ_HOST: must be a host name")


@pytest.mark.parametrize("host", ["rabbitmq", "my_broker-1.example", "10.0.0.1", "::1"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert (
        Address.parse(load_settings({"RABBITMQ_HOST": host}).amqp_url.get_secret_value()).host
        == host
    )


def test_options_in_the_url_are_kept() -> None:
    settings = load_settings({"RABBITMQ_URL": "amqp://u:p@h/v?frame_max=4096"})
    assert settings.amqp_url.get_secret_value() == "amqp://u:p@h:5672/v?frame_max=4096"


@pytest.mark.parametrize(
    ("vhost", "part"),
    [("woragis", "woragis"), ("/woragis", "woragis"), ("/", "%2F"), ("a/b", "a%2Fb")],
)
def test_the_virtual_host_loses_one_leading_slash_as_in_the_go_worker(
    vhost: str, part: str
) -> None:
    assert load_settings({"RABBITMQ_VHOST": vhost}).amqp_address.endswith(f":5672/{part}")


@pytest.mark.parametrize(
    "url",
    [
        f"http://{SECRET}@h",
        SECRET,
        f"amqp://:{SECRET}@/v",
        f"amqp://u:{SECRET}@h:port/v",
        f"amqp://u:{SECRET}#@h/v",
        f"amqp://u:{SECRET} @h/v",
        f"amqp://u:{SECRET}/@h/v",
        f"amqp://[{SECRET}",
        f"amqp://u:{SECRET}@h:99999/v",
        f"amqp://u:/{SECRET}@h/v",
        f"amqp://u:1/{SECRET}@h/v",
        f"amqp://u:1?{SECRET}@h/v",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    [line] = complaints(RABBITMQ_URL=url)
    assert line.startswith("RABBITMQ_URL: ")
    assert SECRET not in line


def test_the_port_of_a_kubernetes_service_link_is_understood_with_a_warning() -> None:
    settings = load_settings({"RABBITMQ_PORT": "tcp://10.0.0.1:5673"})
    assert settings.amqp_address == "amqp://rabbitmq:5673/woragis"
    [warning] = settings.warnings
    assert warning.startswith("RABBITMQ_PORT: was set by Kubernetes")


@pytest.mark.parametrize(
    "port", ["tcp://10.0.0.1", "tcp://10.0.0.1:x", "tcp://", "x", "0", "65536"]
)
def test_other_ports_are_refused(port: str) -> None:
    [line] = complaints(RABBITMQ_PORT=port)
    assert line.startswith("RABBITMQ_PORT: must be a whole number from 1 to 65535")


def test_without_tls_there_is_no_context() -> None:
    assert load_settings({}).ssl_context() is None


def test_a_fresh_verifying_context_is_made_for_each_connection(certificates: Certificates) -> None:
    settings = load_settings(
        {
            "RABBITMQ_TLS": "true",
            "RABBITMQ_CA_FILE": str(certificates["cert"]),
            "RABBITMQ_CERT_FILE": str(certificates["cert"]),
            "RABBITMQ_KEY_FILE": str(certificates["key"]),
        }
    )
    first, second = settings.ssl_context(), settings.ssl_context()
    assert first is not None
    assert first is not second
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(first.get_ca_certs()) == 1
    assert settings.amqp_address == "amqps://rabbitmq:5671/woragis"


def test_an_amqps_url_is_enough_for_tls() -> None:
    assert load_settings({"RABBITMQ_URL": "amqps://h"}).ssl_context() is not None


def test_tls_that_would_silently_not_happen_is_refused(certificates: Certificates) -> None:
    assert complaints(RABBITMQ_TLS="true", RABBITMQ_URL="amqp://h") == [
        "RABBITMQ_TLS: is on, but RABBITMQ_URL says amqp://; write amqps:// there"
    ]
    [line] = complaints(RABBITMQ_CA_FILE=str(certificates["cert"]))
    assert line.startswith("RABBITMQ_CA_FILE: has no effect without TLS")


@pytest.mark.parametrize(
    ("cert", "key", "rule"),
    [
        ("cert", None, "need each other"),
        (None, "key", "need each other"),
        ("cert", "other", "check that they belong together"),
        ("cert", "locked", "the private key is encrypted"),
        ("key", "key", "no usable certificate"),
        ("missing", "key", "can not be read"),
    ],
)
def test_a_client_certificate_and_its_key_come_together(
    cert: str | None, key: str | None, rule: str, certificates: Certificates
) -> None:
    given = {"RABBITMQ_CERT_FILE": cert, "RABBITMQ_KEY_FILE": key}
    paths = {
        name: str(certificates.get(file, Path("/missing"))) for name, file in given.items() if file
    }
    [line] = complaints(RABBITMQ_TLS="true", **paths)
    assert line.startswith("RABBITMQ_CERT_FILE, RABBITMQ_KEY_FILE: ")
    assert rule in line


def test_a_ca_file_has_to_hold_certificates(certificates: Certificates, tmp_path: Path) -> None:
    for path in (certificates["key"], tmp_path, tmp_path / "missing"):
        [line] = complaints(RABBITMQ_TLS="true", RABBITMQ_CA_FILE=str(path))
        assert line.startswith("RABBITMQ_CA_FILE: ")
