"""The pages' files over HTTP: what is served, how, and what is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bundles.model import Model
from service.pages.assets import FILES, page_routes
from tests.service.live import Live, fake_model, live_app

PATHS = sorted(route.path for route in page_routes())


@pytest.fixture(scope="module")
def model() -> Model:
    """A model that nobody asks."""
    return fake_model()


@pytest.fixture(scope="module")
def live(model: Model) -> Iterator[Live]:
    """A service with pages."""
    with live_app(model) as running:
        yield running


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_served_with_its_type_and_policy(live: Live, path: str) -> None:
    reply = live.get(path)
    assert reply.status == 200
    name = {"/": "x.html", "/playground": "x.html"}.get(path, path)
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert reply.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    assert reply.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"


def test_every_file_of_the_package_has_a_path() -> None:
    files = {path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file()}
    pages = {"entrance.html", "playground.html"}
    assert {"/", "/playground", *(f"/pages/{name}" for name in files - pages)} == set(PATHS)


def test_every_file_that_another_one_names_is_served() -> None:
    named = {
        *(found for page in FILES.glob("*.html") for found in re.findall(r'"(/pages/[^"]+)"', page.read_text("utf-8"))),
        *(
            f"/pages/js/{found}"
            for module in FILES.glob("js/*.js")
            for found in re.findall(r'^import .*"\./([^"]+)"', module.read_text("utf-8"), re.MULTILINE)
        ),
    }
    assert named <= set(PATHS)
    assert {f"/pages/js/{module.name}" for module in FILES.glob("js/*.js")} - named == {"/pages/js/types.js"}


def test_a_file_that_the_client_has_is_not_sent_again(live: Live) -> None:
    first = live.get("/playground")
    again = live.get("/playground", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert live.get("/playground", {"If-None-Match": '"other"'}).status == 200
    assert first.headers["cache-control"] == "no-cache"


def test_head_is_answered_without_a_body(live: Live) -> None:
    reply, whole = live.request("HEAD", "/"), live.get("/")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-length"] == str(len(whole.body))


@pytest.mark.parametrize(
    "path",
    [
        "/pages",
        "/pages/",
        "/pages/../app.py",
        "/pages/%2e%2e/assets.py",
        "/pages//base.css",
        "/pages/js/",
        "/playground/",
    ],
)
def test_no_other_path_is_a_file(live: Live, path: str) -> None:
    assert live.get(path).status == 404


def test_without_pages_all_of_them_are_gone(model: Model) -> None:
    with live_app(model, pages=False) as without:
        assert {without.get(path).status for path in PATHS} == {404}
        assert without.get("/v2/health/live").status == 200


@pytest.mark.parametrize("file", sorted(FILES.rglob("*.*")), ids=lambda path: path.name)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(file: Path) -> None:
    text = file.read_text("utf-8")
    if file.suffix == ".html":
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
        assert all(found.startswith(("/", "#")) for found in re.findall(r'(?:src|href)="([^"]*)', text))
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # A namespace, which nobody loads.
