"""The shadow as a setting: what is known to be wrong at the start, and processes that run with one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.command import check_shadow
from service.settings import SettingsError
from tests.service.live import make_settings
from tests.service.requests import request
from tests.service.test_process import fails
from tests.service.tiny_bundle import Options, write_bundle
from tests.service.workers.test_workers import Service, eventually, serving


@pytest.mark.parametrize("shadow", ["next", "next@1", "next@2", "tiny"])
def test_a_shadow_that_will_be_live_is_right(tmp_path: Path, shadow: str) -> None:
    for version in ("1", "2"):
        write_bundle(tmp_path, Options(name="next", version=version))
    write_bundle(tmp_path)
    check_shadow(make_settings(bundles=tmp_path, shadow=shadow, keep_versions=2))


@pytest.mark.parametrize(
    ("shadow", "problem"),
    [
        ("nxt", "there is no bundle 'nxt' in "),
        ("nxt@1", "there is no bundle 'nxt' in "),
        ("next@3", "version '3' of 'next' is not among the newest 1 "),
        ("next@1", "version '1' of 'next' is not among the newest 1 "),
    ],
)
def test_one_that_will_not_be_is_an_error_at_start(tmp_path: Path, shadow: str, problem: str) -> None:
    for version in ("1", "2"):
        write_bundle(tmp_path, Options(name="next", version=version))
    with pytest.raises(SettingsError, match=f"^LISTWRIGHT_SHADOW \\(--shadow\\): {problem}"):
        check_shadow(make_settings(bundles=tmp_path, shadow=shadow))


def test_an_empty_folder_says_nothing_about_what_will_be_in_it(tmp_path: Path) -> None:
    check_shadow(make_settings(bundles=tmp_path, shadow="next"))


@pytest.mark.long
def test_a_wrong_one_ends_the_process_before_it_listens(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    for flags in ((), ("--workers", "2")):
        message = fails("--bundles", str(tmp_path), "--port", "0", "--shadow", "absent", *flags)
        assert "LISTWRIGHT_SHADOW (--shadow): there is no bundle 'absent' in " in message


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
def test_two_workers_count_together_and_stop_at_once(tmp_path: Path) -> None:
    for name in ("tiny", "next"):
        write_bundle(tmp_path / "bundles", Options(name=name))
    flags = ("--default-model", "tiny", "--shadow", "next", "--shadow-share", "1", "--queue-target-ms", "10000")
    labels = {"model": "next", "version": "1"}

    def scored(service: Service) -> float:
        return service.value("rerank_shadow_total", outcome="scored", **labels) or 0

    with serving(tmp_path, *flags) as service:
        for n, pid in enumerate(service.workers(), start=1):
            with service.on(pid) as connection:
                assert connection.ask("/v1/rerank", request())[1]["model"] == "tiny"
                eventually(lambda n=n: scored(service) == n)  # type: ignore[misc]
        assert service.value("rerank_shadow_kendall_tau_bucket", le="0.99", **labels) == 0
        assert service.value("rerank_shadow_kendall_tau_bucket", le="1.0", **labels) == 2
        assert service.value("rerank_shadow_overlap_sum", k="5", **labels) == 2
        status, _, err = service.process.stop()
    assert (status, "Traceback" in err) == (0, False)
