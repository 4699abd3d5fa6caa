"""The manifests in k8s/ say what the worker needs and what the documents promise.

Tests marked `verify` look at what kustomize renders, and need kubectl: scripts/verify runs them.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatsapp_worker import __version__
from whatsapp_worker.settings import load_settings
from whatsapp_worker.settings.model import Settings

ROOT = Path(__file__).parent.parent
ACCOUNT = ROOT / "k8s/base/account"
OVERLAYS = sorted(path.parent for path in ROOT.glob("k8s/overlays/*/kustomization.yaml"))
PASSWORD_FILE = "RABBITMQ_PASSWORD_FILE"
BEFORE_AND_AFTER_DRAINING = 10
"""Seconds: to leave the consumer (5 s, DESIGN 10) and to close."""

Document = dict[str, Any]
"""A manifest, as the YAML library gives it."""


def document(path: Path) -> Document:
    loaded: Document = yaml.safe_load(path.read_text())
    return loaded


@pytest.fixture
def pod() -> Document:
    """The pod of the base, before any overlay."""
    spec: Document = document(ACCOUNT / "statefulset.yaml")["spec"]["template"]["spec"]
    return spec


def documented_probes() -> list[Document]:
    """The YAML examples of HEALTH_CHECK.md, in order."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "HEALTH_CHECK.md").read_text(), re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


def settings_of(environment: Mapping[str, str], tmp_path: Path) -> Settings:
    """Read the settings as the worker in the pod would, its mounted password included."""
    password = tmp_path / "password"
    password.write_text("of-a-test\n")
    assert PASSWORD_FILE in environment
    return load_settings({**environment, PASSWORD_FILE: str(password)})


def lines_of_env(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


# The sources ------------------------------------------------------------------------------------


def test_the_probes_are_those_of_the_health_documentation(pod: Document) -> None:
    (container,) = pod["containers"]
    probes = {name: probe for name, probe in container.items() if name.endswith("Probe")}
    assert probes == documented_probes()[0]


def test_the_settings_are_ones_the_worker_takes(pod: Document, tmp_path: Path) -> None:
    environment = lines_of_env((ACCOUNT / "settings.env").read_text())
    settings = settings_of(environment, tmp_path)
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert settings.http_port == port["containerPort"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["session"] == str(settings.whatsapp_session_path)
    assert mounts["secrets"] == str(Path(environment[PASSWORD_FILE]).parent)


def test_every_name_in_the_settings_is_a_setting() -> None:
    environment = lines_of_env((ACCOUNT / "settings.env").read_text())
    names = {name.upper() for name in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in environment} <= names


def test_the_grace_period_outlasts_a_send_in_flight(pod: Document) -> None:
    needed = Settings().drain_timeout + BEFORE_AND_AFTER_DRAINING
    assert pod["terminationGracePeriodSeconds"] >= needed


def test_the_pod_is_the_user_of_the_image(pod: Document) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))


def test_every_image_is_of_this_version() -> None:
    text = "".join(path.read_text() for path in sorted(ROOT.glob("k8s/**/*.yaml")))
    tags = re.findall(r"image: whatsapp-worker:(\S+)|newTag: (\S+)", text)
    assert len(tags) == 1 + len(OVERLAYS)
    assert {tag or other for tag, other in tags} == {__version__}


def test_no_secret_is_in_the_manifests() -> None:
    for path in ROOT.glob("k8s/**/*"):
        if path.is_file():
            found = re.search(
                r"kind: Secret\b|secretGenerator|_PASSWORD=|amqps?://|_URL=", path.read_text()
            )
            assert not found, f"{path}: {found}"


def test_the_rules_are_those_of_plain_prometheus() -> None:
    rule = document(ROOT / "k8s/base/monitoring/prometheusrule.yaml")
    assert rule["spec"] == document(ROOT / "deploy/prometheus/rules.yml")


def test_the_rules_are_as_their_script_writes_them() -> None:
    script = [sys.executable, "scripts/write_prometheusrule.py", "--check"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_accounts_differ_in_name_queue_and_key_and_share_the_exchange() -> None:
    accounts = [document(path) for path in ROOT.glob("k8s/overlays/example-several/*/*.yaml")]
    assert len(accounts) > 1
    given = [
        lines_of_env("\n".join(account["configMapGenerator"][0]["literals"]))
        for account in accounts
    ]
    for name in ("WHATSAPP_QUEUE_NAME", "WHATSAPP_ROUTING_KEY"):
        assert len({each[name] for each in given}) == len(accounts)
    assert len({account["nameSuffix"] for account in accounts}) == len(accounts)
    assert not any("WHATSAPP_EXCHANGE" in each for each in given)


def test_the_document_names_the_settings_in_which_accounts_differ() -> None:
    text = (ROOT / "docs/KUBERNETES.md").read_text()
    for account in ("sales", "support"):
        path = ROOT / "k8s/overlays/example-several" / account / "kustomization.yaml"
        literals = document(path)["configMapGenerator"][0]["literals"]
        for name, value in lines_of_env("\n".join(literals)).items():
            if name.startswith("WHATSAPP_"):
                assert re.search(rf"^\| `{name}` \|.* `{value}` \|", text, re.MULTILINE)


def test_the_document_names_only_directories_and_files_that_exist() -> None:
    text = (ROOT / "docs/KUBERNETES.md").read_text()
    named = set(re.findall(r"\b(?:k8s|deploy)/[\w./-]*\w", text))
    assert {f"k8s/overlays/{overlay.name}" for overlay in OVERLAYS} <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


# What kustomize renders -------------------------------------------------------------------------

needs_tools = pytest.mark.verify

ONE_ACCOUNT = [
    "ConfigMap",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
    "StatefulSet",
]
SHARED = ["Namespace", "PodMonitor", "PrometheusRule"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """The documents of every overlay, and of every component on one, by name."""
    target = tmp_path_factory.mktemp("rendered")
    subprocess.run([ROOT / "scripts/render-kubernetes", target], check=True, timeout=60)
    return {path.stem: list(yaml.safe_load_all(path.read_text())) for path in target.glob("*.yaml")}


@pytest.fixture(params=[path.name for path in OVERLAYS])
def overlay(request: pytest.FixtureRequest, rendered: dict[str, list[Document]]) -> list[Document]:
    return rendered[request.param]


def of_kind(kind: str, documents: list[Document]) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def pod_of(statefulset: Document) -> Document:
    spec: Document = statefulset["spec"]["template"]["spec"]
    return spec


@needs_tools
def test_every_account_has_everything_of_its_own(overlay: list[Document]) -> None:
    accounts = len(of_kind("StatefulSet", overlay))
    kinds = sorted(each["kind"] for each in overlay)
    assert kinds == sorted(ONE_ACCOUNT * accounts + SHARED)
    assert all(each["metadata"].get("namespace") == "whatsapp" for each in overlay[1:])


@needs_tools
def test_every_selector_meets_the_pods_of_its_own_account_only(overlay: list[Document]) -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind("StatefulSet", overlay)
    }
    places: dict[str, Callable[[Document], Document]] = {
        "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
        "Service": lambda spec: spec["selector"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
    }
    for kind, selector_in in places.items():
        for each in of_kind(kind, overlay):
            wanted = selector_in(each["spec"]).items()
            assert wanted, kind
            met = [name for name, has in labels.items() if wanted <= has.items()]
            assert met == [each["metadata"]["name"]], kind
    (monitor,) = of_kind("PodMonitor", overlay)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= has.items() for has in labels.values())


@needs_tools
def test_every_account_has_one_pod_one_volume_one_queue_and_one_key(
    overlay: list[Document], tmp_path: Path
) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind("ConfigMap", overlay)}
    statefulsets = of_kind("StatefulSet", overlay)
    routes = set()
    for each in statefulsets:
        assert each["spec"]["replicas"] == 1
        (claim,) = each["spec"]["volumeClaimTemplates"]
        (container,) = pod_of(each)["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        (source,) = container["envFrom"]
        settings = settings_of(maps[source["configMapRef"]["name"]], tmp_path)
        assert mounts[claim["metadata"]["name"]] == str(settings.whatsapp_session_path)
        routes.add((settings.whatsapp_queue_name, settings.whatsapp_routing_key))
    assert len({queue for queue, _ in routes}) == len(statefulsets)
    assert len({key for _, key in routes}) == len(statefulsets)


@needs_tools
def test_every_pod_is_as_restricted_as_can_be(overlay: list[Document]) -> None:
    for each in of_kind("StatefulSet", overlay):
        pod = pod_of(each)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert not container["image"].endswith(":latest")
    for namespace in of_kind("Namespace", overlay):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@needs_tools
def test_the_network_lets_through_what_the_worker_needs_and_no_more(
    overlay: list[Document],
) -> None:
    for each in of_kind("NetworkPolicy", overlay):
        out = {
            (port["port"], port["protocol"])
            for rule in each["spec"]["egress"]
            for port in rule["ports"]
        }
        plain, tls = Settings().rabbitmq_port, Settings(rabbitmq_tls=True).rabbitmq_port
        tcp = {(port, "TCP") for port in (53, 443, 5222, plain, tls)}
        assert out == tcp | {(53, "UDP")}
        (entry,) = each["spec"]["ingress"]
        assert entry["ports"] == [{"port": "http", "protocol": "TCP"}]


@needs_tools
def test_the_component_probes_as_the_predecessor_did(rendered: dict[str, list[Document]]) -> None:
    (statefulset,) = of_kind("StatefulSet", rendered["with-probe-healthz"])
    (container,) = pod_of(statefulset)["containers"]
    assert container["livenessProbe"] == documented_probes()[1]["livenessProbe"]
    readiness = container["readinessProbe"]
    assert readiness["httpGet"]["path"] == "/healthz"
    assert (readiness["periodSeconds"], readiness["timeoutSeconds"]) == (10, 5)


@needs_tools
def test_without_the_operator_nothing_of_it_is_left(rendered: dict[str, list[Document]]) -> None:
    documents = rendered["with-without-prometheus-operator"]
    assert not [each for each in documents if each["apiVersion"].startswith("monitoring.")]
    (statefulset,) = of_kind("StatefulSet", documents)
    annotations = statefulset["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(Settings().http_port)
