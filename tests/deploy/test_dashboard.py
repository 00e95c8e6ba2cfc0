"""The dashboard asks only for series that the service exports, and shows what the service is judged by."""

from __future__ import annotations

import itertools
import json
import re

from service.telemetry.records import CHOICES
from tests.deploy.files import (
    DASHBOARD,
    dashboard_expressions,
    exported_families,
    exported_series,
    metrics_in,
    panels,
    variables,
)


def test_every_metric_it_asks_for_exists() -> None:
    series = exported_series()
    for title, expression in dashboard_expressions():
        named = metrics_in(expression)
        assert named, f"{title}: asks for none of the service's metrics"
        assert named <= series, f"{title}: {named - series}"


def test_every_metric_of_the_service_has_a_panel() -> None:
    shown = {m for _, e in dashboard_expressions() for m in metrics_in(e)}
    assert not [family for family, series in exported_families().items() if not series & shown]


def test_every_query_asks_for_the_deployments_that_are_chosen_and_for_no_others() -> None:
    chosen = [f'{variable["name"]}=~"${variable["name"]}"' for variable in variables()]
    assert chosen == ['namespace=~"$namespace"', 'job=~"$job"'], "what tells two deployments apart, as in the alerts"
    for panel in panels():
        for expression in (target["expr"] for target in panel["targets"]):
            named = re.findall(r"(?<![:\w])rerank_\w+(?:\{(.*?)\})?", expression)
            assert named
            assert all(matchers.startswith(", ".join(chosen)) for matchers in named), expression


def test_what_can_be_chosen_is_read_from_a_metric_that_is_always_there_and_is_all_by_default() -> None:
    for variable in variables():
        assert metrics_in(variable["query"]["query"]) == {"rerank_workers_wanted"}
        assert metrics_in(variable["query"]["query"]) <= exported_series()
        assert variable["current"]["value"] == ["$__all"]
        # Without Kubernetes there is no namespace, and this also matches a label that is not there.
        assert (variable["includeAll"], variable["allValue"]) == (True, ".*")


def test_it_shows_whose_lists_are_served() -> None:
    (panel,) = [p for p in panels() if p["title"] == "Whose list"]
    assert metrics_in(panel["targets"][0]["expr"]) == {"rerank_list_choice_total"}
    assert all(choice in panel["description"] for choice in CHOICES)


def test_p99_stands_against_a_line_at_19_ms() -> None:
    (latency,) = [p for p in panels() if p["title"] == "Latency against the budget"]
    assert any("0.99" in t["expr"] for t in latency["targets"])
    defaults = latency["fieldConfig"]["defaults"]
    assert defaults["custom"]["thresholdsStyle"] == {"mode": "line"}
    assert defaults["thresholds"]["steps"][-1] == {"color": "red", "value": 0.019}
    assert defaults["unit"] == "s"


def test_panels_have_titles_descriptions_and_places_of_their_own() -> None:
    all_panels = panels()
    assert len({p["id"] for p in all_panels}) == len({p["title"] for p in all_panels}) == len(all_panels)
    assert all(p["description"] for p in all_panels)
    taken: set[tuple[int, int]] = set()
    for panel in all_panels:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert max(columns) < 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells


def test_it_uses_the_provisioned_data_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert dashboard["uid"] == "listwright"
    assert {t["datasource"]["uid"] for p in dashboard["panels"] for t in p["targets"]} == {"prometheus"}
    provisioned = (DASHBOARD.parents[1] / "provisioning" / "datasources" / "prometheus.yml").read_text("utf-8")
    assert "uid: prometheus" in provisioned
