"""Files of the package, and nothing else, come with their type, may be kept, and are asked about each time."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.pages.static import CONTENT_SECURITY_POLICY, static_routes
from tests.service.live import HOST, WAIT_SECONDS, Reply, listening, make_settings

FILES = {"/page": "page.html", "/page/look.css": "look.css", "/page/run.js": "run.js"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("pages")
    for name in (*FILES.values(), "secret.html"):
        (folder / name).write_text(f"content of {name}", "utf-8")
    app = FastAPI(redirect_slashes=False)
    app.router.routes.extend(static_routes(FILES, folder))
    with listening(app, make_settings()) as port:
        yield port


def ask(port: int, path: str, headers: Mapping[str, str] = {}) -> Reply:
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=WAIT_SECONDS)) as connection:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@pytest.mark.parametrize(
    ("path", "kind"), [("/page", "text/html"), ("/page/look.css", "text/css"), ("/page/run.js", "text/javascript")]
)
def test_a_file_comes_with_its_type_and_the_policy(port: int, path: str, kind: str) -> None:
    reply = ask(port, path)
    assert reply.status == 200
    assert reply.body == f"content of {FILES[path]}".encode()
    assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_a_client_that_has_the_file_is_told_so(port: int, form: str) -> None:
    tag = ask(port, "/page").headers["etag"]
    reply = ask(port, "/page", {"if-none-match": form.format(tag)})
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["etag"] == tag


def test_a_client_that_has_another_gets_the_file(port: int) -> None:
    other = ask(port, "/page/look.css").headers["etag"]
    assert ask(port, "/page", {"if-none-match": other}).status == 200


@pytest.mark.parametrize(
    "path", ["/secret.html", "/page/secret.html", "/page/../secret.html", "/page/%2e%2e/secret.html", "/page/"]
)
def test_nothing_else_in_the_folder_is_served(port: int, path: str) -> None:
    assert ask(port, path).status == 404


def test_a_file_that_is_missing_is_found_at_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        static_routes({"/x": "x.html"}, tmp_path)


def test_a_file_of_an_unknown_kind_is_found_at_start(tmp_path: Path) -> None:
    (tmp_path / "x.exe").write_bytes(b"")
    with pytest.raises(KeyError):
        static_routes({"/x": "x.exe"}, tmp_path)
