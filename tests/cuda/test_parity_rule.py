"""Answers from elsewhere are the same lists but for near ties, and how near a tie is comes from the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.bundle import write_bundle
from export.proof.requests import random_requests, stack
from export.proof.verify import TIE
from models.contract.arrays import Arrays
from models.contract.manifest import MODEL_FILE
from models.planners.runtime import GraphPlanner
from tests.cuda.parity import CpuAnswers, Parity, compare_answers
from tests.export.examples import DEGRE_OPTIONS, OPTIONS, degre, sort_gen

Outputs = dict[str, NDArray[Any]]
SOURCE, LENGTH = sort_gen(), OPTIONS.limits.list_length


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"), SOURCE, OPTIONS, requests=2).folder


@pytest.fixture(scope="module")
def requests() -> list[Arrays]:
    return list(random_requests(SOURCE.spec, OPTIONS.limits, 30, 5))


@pytest.fixture(scope="module")
def answers(folder: Path, requests: list[Arrays]) -> Outputs:
    """All of them answered in one batch."""
    return dict(GraphPlanner((folder / MODEL_FILE).read_bytes())(stack(requests)))


def parity(folder: Path, requests: list[Arrays], answers: Outputs) -> Parity:
    return compare_answers(CpuAnswers(folder, length=LENGTH), requests, answers)


@pytest.mark.long
@pytest.mark.parametrize("beam_width", [1, 3])
def test_margins_are_the_references(tmp_path: Path, requests: list[Arrays], beam_width: int) -> None:
    limits = replace(OPTIONS.limits, beam_width=beam_width)
    folder = write_bundle(tmp_path, SOURCE, replace(OPTIONS, limits=limits), requests=2).folder
    cpu, reference = CpuAnswers(folder, length=LENGTH), SOURCE.reference(limits)
    for request in requests[:12]:
        _, margins = cpu(request)
        answer = reference(request)
        for found, margin in zip(margins, answer.margins(LENGTH)[: len(answer.steps)], strict=False):
            if margin < 1e6:  # Where there is no rival the graph has one that cannot be chosen.
                assert found == pytest.approx(margin, rel=2e-3, abs=1e-4)
            else:
                assert found > 1e6


def test_the_same_answers_are_the_same(folder: Path, requests: list[Arrays], answers: Outputs) -> None:
    found = parity(folder, requests, answers)
    assert (found.requests, found.same, found.near_ties, found.different) == (30, 30, 0, 0)
    assert found.holds
    assert found.to_json()["holds"] is True
    assert found.largest_error < 1e-5


def test_another_choice_that_was_no_near_tie_is_found_with_its_margin(
    folder: Path, requests: list[Arrays], answers: Outputs
) -> None:
    cpu = CpuAnswers(folder, length=LENGTH)
    clear = next(r for r, request in enumerate(requests) if 1e-3 < cpu(request)[1][0] < 1e6)
    order = answers["order"].copy()
    order[clear, 0] = answers["runner_up"][clear, 0]
    found = parity(folder, requests, {**answers, "order": order})
    assert (found.same, found.near_ties, found.different) == (29, 0, 1)
    assert found.largest_margin == pytest.approx(cpu(requests[clear])[1][0])
    assert not found.holds


def test_another_choice_at_an_exact_tie_is_a_near_tie(folder: Path, requests: list[Arrays], answers: Outputs) -> None:
    cpu = CpuAnswers(folder, length=LENGTH)
    tied = next(r for r, request in enumerate(requests) if (cpu(request)[1] < TIE).any())
    step = int((cpu(requests[tied])[1] < TIE).argmax())
    order = answers["order"].copy()
    order[tied, step] = answers["runner_up"][tied, step]
    found = parity(folder, requests, {**answers, "order": order})
    assert (found.same, found.near_ties, found.different) == (29, 1, 0)
    assert found.holds


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda value: value + np.float32(0.01), id="off"),
        pytest.param(lambda value: value * np.float32(np.nan), id="NaN"),
    ],
)
def test_a_value_that_is_off_does_not_hold(
    folder: Path,
    requests: list[Arrays],
    answers: Outputs,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> None:
    found = parity(folder, requests, {**answers, "value": change(answers["value"])})
    assert found.same == 30
    assert not found.holds


def test_every_request_needs_its_answer(folder: Path, requests: list[Arrays], answers: Outputs) -> None:
    with pytest.raises(ValueError, match="there are 29 requests and 30 answers"):
        parity(folder, requests[1:], answers)


def test_a_graph_that_does_not_choose_position_by_position_is_refused(folder: Path, tmp_path: Path) -> None:
    pointer = write_bundle(tmp_path, degre(), DEGRE_OPTIONS, requests=2).folder
    with pytest.raises(ValueError, match="its graph has 3 choices, but lists have 4 positions"):
        CpuAnswers(pointer, length=LENGTH)
    with pytest.raises(ValueError, match="its graph has 4 choices, but lists have 5 positions"):
        CpuAnswers(folder, length=5)
