"""Write the Kubernetes form of the Prometheus rules, so that they are kept in one place.

`--check` writes nothing and fails when the file is out of date.
"""

import sys
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parent.parent
RULES = Path("deploy/prometheus/rules.yml")
RESOURCE = Path("k8s/base/monitoring/prometheusrule.yaml")
HEAD = f"""\
# Written from {RULES} by scripts/write_prometheusrule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: whatsapp-worker
  labels:
    app.kubernetes.io/name: whatsapp-worker
spec:
"""


def resource(rules: str) -> str:
    """The PrometheusRule with these rules; its `spec` is just what Prometheus itself reads."""
    return HEAD + indent(rules, "  ")


def main(arguments: list[str]) -> int:
    """Write, or check; returns the exit code."""
    wanted = resource((ROOT / RULES).read_text())
    if "--check" not in arguments:
        (ROOT / RESOURCE).write_text(wanted)
        return 0
    if (ROOT / RESOURCE).read_text() == wanted:
        return 0
    sys.stderr.write(f"{RESOURCE} is out of date: run scripts/write_prometheusrule.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
