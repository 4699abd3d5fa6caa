"""A fault in a manifest makes the step of scripts/verify fail that is there for it."""

import shutil
from pathlib import Path

import pytest

from tests.support.verify_steps import ROOT, run_step

pytestmark = pytest.mark.verify

STATEFULSET = "account/statefulset.yaml"
PODMONITOR = "monitoring/podmonitor.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of base and one overlay, which is quicker, with the programs that look at them."""
    for part in ("base", "overlays/example-single"):
        shutil.copytree(ROOT / "k8s" / part, tmp_path / "k8s" / part)
    (tmp_path / "scripts/verify-node").mkdir(parents=True)
    for name in ("render-kubernetes", "verify-node/operator-kinds.mjs"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    modules = ROOT / "scripts/verify-node/node_modules"
    (tmp_path / "scripts/verify-node/node_modules").symlink_to(modules)
    return tmp_path


@pytest.mark.parametrize(
    ("step", "file", "right", "wrong", "complaint"),
    [
        ("kubernetes-schemas", STATEFULSET, "startupProbe:", "startupProb:", "startupProb"),
        ("kubernetes-schemas", STATEFULSET, "replicas: 1", "replicas: one", "replicas"),
        ("kubernetes-schemas", STATEFULSET, "apps/v1\n", "apps/v3\n", "find schema"),
        (
            "kubernetes-operator-kinds", PODMONITOR,
            "podMetricsEndpoints", "podMetricEndpoints", "podMetricEndpoints",
        ),
        ("kubernetes-operator-kinds", PODMONITOR, "interval: 15s", "interval: 15q", "interval"),
        (
            "kubernetes-security", STATEFULSET,
            "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_a_manifest_fails_the_step_that_is_for_it(
    step: str, file: str, right: str, wrong: str, complaint: str, tree: Path
) -> None:
    manifest = tree / "k8s/base" / file
    assert right in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(right, wrong))
    done = run_step(step, tree)
    assert done.returncode != 0
    assert complaint in done.stdout
