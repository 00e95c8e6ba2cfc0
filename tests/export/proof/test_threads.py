"""A proof runs on one thread, and gives back as many as there were, also where it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from export.families.degre import Degre
from export.families.family import ReferencePlanner
from export.proof.proved import Demands, prove_graph
from models.contract.manifest import Limits
from tests.service.degre_bundle import degre_model

LIMITS = Limits(list_length=5, queues=3, queue_length=20)
DEMANDS = Demands("fp32", most_lost=0.0, requests=2, seed=0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watched(Degre):
    """Notes on how many threads its references are made, and may fail instead."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__(degre_model(conditioned=True).checkpoint)
        self.fails = fails
        self.threads: set[int] = set()

    def reference(self, limits: Limits) -> ReferencePlanner:
        self.threads.add(torch.get_num_threads())
        if self.fails:
            raise RuntimeError("no reference")
        return super().reference(limits)


@pytest.mark.usefixtures("two_threads")
def test_references_plan_on_one_thread() -> None:
    family = Watched(fails=False)
    prove_graph(family, LIMITS, DEMANDS)
    assert family.threads == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_threads_are_given_back_by_a_proof_that_fails() -> None:
    with pytest.raises(RuntimeError, match="no reference"):
        prove_graph(Watched(fails=True), LIMITS, DEMANDS)
    assert torch.get_num_threads() == 2
