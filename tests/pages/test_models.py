"""Two models side by side, and a request that is made for the model of A."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from loadtest.rig.server import running_server
from models.contract.manifest import DEMO_BUNDLE
from tests.pages.conftest import UNHURRIED, OpenPage
from tests.service.tiny_bundle import write_bundle


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the demo model, which is the default, and a tiny one."""
    folder = tmp_path_factory.mktemp("two")
    write_bundle(folder)
    shutil.copytree(DEMO_BUNDLE, folder / "demo" / "1")
    with running_server(folder, options=(*UNHURRIED, "--default-model", "demo")) as server:
        yield server.url


def test_two_models_are_shown_side_by_side(new_page: OpenPage, two_models: str) -> None:
    watched = new_page(two_models)
    watched.expected.add(404)
    page = watched.open()
    models = page.locator("fieldset.side-B").get_by_label("Model").locator("option")
    assert models.first.inner_text() == "demo 1 (default)"
    tiny = models.nth(1).get_attribute("value") or ""
    with watched.new_lists():
        page.locator("fieldset.side-B").get_by_label("Model").select_option(tiny)
    assert page.locator("#list-A").inner_text().split() == ["A", "demo", "1"]
    assert page.locator("#list-B").inner_text().split() == ["B", *tiny.split("@")]
    assert (len(watched.ids("A")), len(watched.ids("B"))) == (10, 5)
    assert {"Queues A", "Queues B"} <= set(page.locator("#legend h2").all_inner_texts())
    asked = watched.sent[-1]["candidates"]

    with watched.new_lists():
        page.locator("fieldset.side-A").get_by_label("Model").select_option(tiny)
    assert len(watched.ids("A")) == 5
    assert watched.sent[-2]["model"] == tiny.split("@")[0]
    assert {c["id"] for c in watched.sent[-2]["candidates"]} == {c["id"] for c in asked}


def test_a_link_to_a_model_that_is_gone_says_so(new_page: OpenPage, two_models: str, url: str) -> None:
    watched = new_page(two_models)
    watched.expected |= {404, 422}
    page = watched.open()
    tiny = page.locator("fieldset.side-A").get_by_label("Model").locator("option").nth(1).get_attribute("value") or ""
    with watched.new_lists():
        page.locator("fieldset.side-A").get_by_label("Model").select_option(tiny)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-link")
    page.wait_for_function("() => document.querySelector('#action-note').textContent.includes('copied')")
    link = str(page.evaluate("navigator.clipboard.readText()"))

    other = new_page(url)
    other.expected |= {404, 422}
    other.open(link.removeprefix(two_models))
    model = other.page.locator("fieldset.side-A").get_by_label("Model")
    assert model.get_attribute("aria-invalid") == "true"
    assert model.locator("option").last.inner_text() == f"{tiny} (not live)"
