"""docker-compose.yml fits the worker, and what it mounts is there.

That it starts is not tested: it needs a Docker engine and images from a registry.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.verify_steps import run_step
from whatsapp_worker.settings import SenderKind, Settings, load_settings
from whatsapp_worker.settings.describe import descriptions

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
BEFORE_AND_AFTER_DRAINING = 10
"""Seconds: to leave the consumer (5 s, DESIGN 10) and to close."""

Service = dict[str, Any]
"""One service, as the YAML library gives it."""


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


@pytest.fixture
def worker(services: dict[str, Service]) -> Service:
    return services["whatsapp-worker"]


def by_default(value: str) -> str:
    """What Compose makes of `${NAME:-default}` when NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_nobody_gets_a_message_unless_asked_for(worker: Service) -> None:
    environment = {name: by_default(value) for name, value in worker["environment"].items()}
    assert environment.keys() <= {each.name for each in descriptions()}
    assert load_settings(environment).whatsapp_sender is SenderKind.SANDBOX


def test_the_worker_finds_its_rabbitmq(worker: Service, services: dict[str, Service]) -> None:
    settings = load_settings(
        {name: by_default(value) for name, value in worker["environment"].items()}
    )
    assert settings.rabbitmq_host in services
    broker = services[settings.rabbitmq_host]["environment"]
    assert broker["RABBITMQ_DEFAULT_USER"] == settings.rabbitmq_user
    assert broker["RABBITMQ_DEFAULT_PASS"] == settings.rabbitmq_password.get_secret_value()
    assert broker["RABBITMQ_DEFAULT_VHOST"] == settings.rabbitmq_vhost


def test_the_worker_is_locked_up_as_in_kubernetes(worker: Service) -> None:
    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert worker["security_opt"] == ["no-new-privileges:true"]
    assert worker["volumes"] == [f"session:{Settings().whatsapp_session_path}"]


def test_a_send_in_flight_may_end(worker: Service) -> None:
    grace = int(worker["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings().drain_timeout + BEFORE_AND_AFTER_DRAINING


def test_what_is_mounted_is_there(compose: dict[str, Any], services: dict[str, Service]) -> None:
    sources = {mount.split(":")[0] for each in services.values() for mount in each["volumes"]}
    for source in sources:
        assert source in compose["volumes"] or (ROOT / source).exists(), source
    assert compose["volumes"].keys() <= sources


def test_prometheus_scrapes_the_worker(services: dict[str, Service]) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {
        target
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert targets == {f"whatsapp-worker:{Settings().http_port}"}
    assert "./deploy/prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]


def test_grafana_finds_dashboards_and_prometheus(services: dict[str, Service]) -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    (dashboards,) = (
        provider["options"]["path"]
        for path in provisioning.glob("dashboards/*.y*ml")
        for provider in yaml.safe_load(path.read_text())["providers"]
    )
    assert f"./deploy/grafana/dashboards:{dashboards}:ro" in services["grafana"]["volumes"]
    assert list(ROOT.glob("deploy/grafana/dashboards/*.json"))
    urls = [
        source["url"]
        for path in provisioning.glob("datasources/*.y*ml")
        for source in yaml.safe_load(path.read_text())["datasources"]
    ]
    assert urls == ["http://prometheus:9090"]


def test_every_image_has_a_version_and_every_service_its_limits(
    services: dict[str, Service],
) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"\S+:(v?\d[\w.-]*|local)", service["image"]), name
        assert service["mem_limit"], name
        assert "healthcheck" in service or name == "whatsapp-worker"  # Its image has one.


def test_nothing_is_reached_from_other_machines(services: dict[str, Service]) -> None:
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.verify
def test_a_misspelt_key_fails_the_step_compose(tmp_path: Path) -> None:
    text = COMPOSE.read_text()
    (tmp_path / COMPOSE.name).write_text(text.replace("read_only:", "readonly:"))
    done = run_step("compose", tmp_path)
    assert done.returncode != 0
    assert "readonly" in done.stdout
