"""A live source that cannot work is told at the start, by its setting's name and without its password."""

from __future__ import annotations

import sys

import pytest

from service.catalogues.choose_source import check_live, make_live
from service.catalogues.redis_link import show_url
from service.settings import Settings, SettingsError
from service.workers.handle import dump_settings
from tests.service.catalogues.reading import Counts
from tests.service.live import make_settings

NAMED = r"LISTWRIGHT_CATALOGUE_LIVE \(--catalogue-live\): "


def test_without_the_setting_there_is_none() -> None:
    check_live(make_settings())
    assert make_live(make_settings(), Counts()) is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6380/3",
        "rediss://user:secret@cache:6379/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=2",
        "redis://[::1]:6379",
        "redis://:secret@127.0.0.1",
    ],
)
def test_a_url_that_can_work_is_taken(url: str) -> None:
    assert make_live(make_settings(catalogue_live=url), Counts()) is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must be a URL"),
        ("cache:6379", "must be a URL"),
        ("http://cache:6379", "must be a URL"),
        ("unix://", "must name the path"),
        ("redis://cache:port/0", "[Pp]ort"),
        ("redis://cache:99999/0", "[Pp]ort"),
        ("redis://cache/zero", "number of a database"),
        ("redis://cache/0?db=x", "Invalid value for 'db'"),
        ("redis://cache/0?nonsense=1", "does not know, .*nonsense"),
        ("redis://[::1/0", "IPv6"),
        ("rediss://cache/0?ssl_cert_reqs=maybe", "Invalid SSL Certificate Requirements Flag: maybe"),
        ("redis://cache/0?maint_notifications_config=x", "not with this value"),
    ],
)
def test_a_url_that_cannot_work_is_refused_by_name(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=NAMED + ".*" + why):
        check_live(make_settings(catalogue_live=url))


@pytest.mark.parametrize("missing", ["redis.asyncio.connection", "hiredis"])
def test_without_the_package_the_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingsError, match=NAMED + r"needs the package redis.*\.\[redis\]"):
        check_live(make_settings(catalogue_live="redis://cache"))


def test_a_password_is_nowhere_but_where_it_is_needed() -> None:
    settings = make_settings(catalogue_live="redis://me:secret@cache:6379/1?socket_connect_timeout=2")
    assert "secret" not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        check_live(make_settings(catalogue_live="redis://me:secret@cache:6379/x"))
    assert "secret" not in str(refused.value)
    assert show_url("redis://me:secret@cache:6379/1?socket_connect_timeout=2") == "redis://cache:6379/1"
    # Workers get it whole.
    assert Settings(**dump_settings(settings)) == settings
