"""The dashboard's queries parse and ask for what the worker exports.

That Grafana renders it is not tested: neither Grafana nor a linter of its dashboards is at hand.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import mistakes, selectors
from tests.test_deploy_prometheus import RECORDED

GRAFANA = Path(__file__).parent.parent / "deploy/grafana"
TEXT = (GRAFANA / "dashboards/whatsapp-worker.json").read_text()

Json = dict[str, Any]
"""An object of the dashboard, as the JSON library gives it."""

DASHBOARD: Json = json.loads(TEXT)
PANELS: list[Json] = DASHBOARD["panels"]
VARIABLES: dict[str, Json] = {each["name"]: each for each in DASHBOARD["templating"]["list"]}

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def queries(dashboard: Json) -> Iterator[str]:
    """Every expression, with Grafana's own variables filled in."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["expr"]


@pytest.mark.parametrize("query", list(queries(DASHBOARD)))
def test_a_query_parses_and_asks_only_for_what_is_exported(query: str) -> None:
    assert list(mistakes(query, RECORDED)) == []
    for selector in selectors(query):
        given = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        assert given["instance"] == "$instance"


def test_a_wrong_metric_name_in_the_dashboard_is_noticed() -> None:
    wrong = json.loads(TEXT.replace("queue_dlq_size{", "queue_dlq_length{"))
    found = [mistake for query in queries(wrong) for mistake in mistakes(query, RECORDED)]
    assert found
    assert set(found) == {"queue_dlq_length: the worker exports no such metric"}


def test_a_query_that_does_not_parse_is_noticed() -> None:
    wrong = json.loads(TEXT.replace("sum by (status) (", "sum by (status) ("[:-1]))
    with pytest.raises(ValueError, match="unexpected"):
        [list(mistakes(query, RECORDED)) for query in queries(wrong)]


@each_panel
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: Json) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


@each_panel
def test_a_rate_in_a_graph_fits_its_resolution(panel: Json) -> None:
    if panel["type"] == "timeseries":
        for target in panel["targets"]:
            assert set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}


def test_panels_have_their_own_ids_and_places() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in PANELS):
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_the_reader_chooses_data_source_and_instance() -> None:
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert VARIABLES["instance"]["includeAll"] is True
    uids = set(re.findall(r'"uid": "(\$[^"]+)"', TEXT))
    assert uids == {"${datasource}"}
    assert TEXT.count('"uid":') == 1 + TEXT.count('"uid": "${datasource}"'), "and the dashboard's"
    asked = re.fullmatch(r"label_values\((.+), instance\)", VARIABLES["instance"]["query"])
    assert asked
    assert list(mistakes(asked[1])) == []


def test_the_dashboard_can_be_imported_anywhere() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["uid"] == "whatsapp-worker"


def test_grafana_is_told_where_the_dashboard_lies() -> None:
    compose = yaml.safe_load((GRAFANA.parent.parent / "docker-compose.yml").read_text())
    mounts = dict(
        mount.split(":")[:2] for mount in compose["services"]["grafana"]["volumes"] if "." in mount
    )
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/whatsapp-worker.yml").read_text())
    (place,) = (each["options"]["path"] for each in provider["providers"])
    assert mounts["./deploy/grafana/dashboards"] == place
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
