"""Every figure of the plan stands where it says, and every assumption says that it is one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from loadtest.scale import figures as f
from loadtest.scale.online import engine_rate, gpu_run, worker_seconds
from tests.documents import ROOT, anchors

FIGURES = f.all_figures()
named = pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)


def section(text: str, anchor: str) -> str:
    """What stands under a heading, with the sections below it."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("#") and anchor in anchors(line):
            depth = len(line) - len(line.lstrip("#"))
            rest = "\n".join(lines[at + 1 :])
            return re.split(rf"^#{{1,{depth}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    raise AssertionError(f"no heading has the anchor {anchor}")


@named
def test_a_figure_stands_at_its_place(figure: f.Figure) -> None:
    if figure.kind == "assumed":
        assert not figure.quote
        assert " " in figure.place, "the place of a guess is its reason"
        return
    assert figure.quote
    if figure.place.startswith("https://"):
        assert figure.kind == "cited"
        return
    path, _, anchor = figure.place.partition("#")
    text = (ROOT / path).read_text("utf-8")
    assert figure.quote in (section(text, anchor) if anchor else text)


@named
def test_the_value_is_in_its_quote(figure: f.Figure) -> None:
    """But for those that are worked out of it or converted."""
    if not figure.quote or figure in (f.CATALOGUE_BYTES, f.CATALOGUE_BUILD_BYTES, f.LIST_BYTES, f.MINE, f.MINE_BEAM):
        return
    numbers = {float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\.?\d*", figure.quote)}
    unit = {"%": 0.01, "KB/s": 1e3 / 5, "16.3": 1e3, "2.9": 1e3, "million": 1e6, "MiB": 2**20}
    factors = {1.0, *(factor for text, factor in unit.items() if text in figure.quote)}
    assert any(figure.value == pytest.approx(n * factor, rel=0.005) for n in numbers for factor in factors), (
        figure.quote
    )


def test_all_figures_are_found_once() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(names) == len(set(names)) > 30
    assert set(f.GPU_RUNS.values()) <= set(FIGURES)


def test_the_line_passes_near_every_run_that_was_measured() -> None:
    line = gpu_run()
    for batch, run in f.GPU_RUNS.items():
        assert line.seconds(batch) * 1e3 == pytest.approx(run.value, rel=0.05)
    residuals = np.array([run.value - line.seconds(batch) * 1e3 for batch, run in f.GPU_RUNS.items()])
    assert residuals.sum() == pytest.approx(0, abs=1e-9)
    assert residuals @ np.array(list(f.GPU_RUNS)) == pytest.approx(0, abs=1e-7)


def test_a_hand_over_is_all_that_both_sides_pay_beyond_a_thread() -> None:
    both = f.LINK_WORKER.value + f.LINK_ENGINE.value - f.THREAD_WORKER.value
    assert pytest.approx(both * f.HOST_SPEED.value) == f.WORKER_HAND_OVER_US + f.ENGINE_HAND_OVER_US
    assert pytest.approx((73 - 18) * 0.5) == f.ENGINE_HAND_OVER_US


def test_a_hand_over_costs_both_sides() -> None:
    assert 64 / engine_rate(19) - 64 / engine_rate() == pytest.approx(64 * 19e-6)
    assert worker_seconds(19) - worker_seconds() == pytest.approx(19e-6)
    assert 1 / worker_seconds() == pytest.approx(f.GPU_SERVICE.value)
