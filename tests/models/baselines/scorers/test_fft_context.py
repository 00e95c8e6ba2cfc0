"""The FFT context model: all candidates decide about each, their order and padding do not, positions are taken out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models.baselines.scorers.fft_context import (
    FFTContextConfig,
    FFTContextModel,
    fit_fft_context,
    load_fft_context,
    shown_positions,
)
from models.baselines.scorers.pointwise import fit_pointwise
from models.data.batches import Batch
from models.data.records import Candidate, ListRecord
from models.data.slates import SlateArrays, encode_slates
from models.nets.checkpoint import CheckpointError
from models.training.loop import TrainOptions
from tests.models.planners.examples import SPEC as OTHER_SPEC
from tests.models.specs import fit_spec
from tests.models.training.records import make_record

CPU = torch.device("cpu")
SHOWN, CANDIDATES = 3, 6
SIZES = FFTContextConfig(dim=16, layers=2, heads=2, list_length=SHOWN, field_dim=4, dropout=0.0, candidates=CANDIDATES)
OPTIONS = TrainOptions(epochs=8, batch_size=32, learning_rate=4e-3, seed=1)
RECORDS = [make_record(i, shown=SHOWN, candidates=CANDIDATES) for i in range(12)]
SPEC = fit_spec(RECORDS)
SLATES = encode_slates(RECORDS, SPEC, SHOWN)


def build(config: FFTContextConfig = SIZES, seed: int = 0) -> FFTContextModel:
    """An untrained model whose weights are large enough for every part to matter."""
    torch.manual_seed(seed)
    model = FFTContextModel(SPEC, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model.eval()


def rearranged(batch: Batch, order: list[int]) -> Batch:
    """The same requests with their candidates in another order."""
    return {name: t[:, order] if t.dim() > 1 and t.shape[1] == CANDIDATES else t for name, t in batch.items()}


def padded(batch: Batch, more: int) -> Batch:
    """The same requests with `more` padding candidates, whose features are not zeros."""
    wider = {
        name: torch.cat([t, t[:, :more] * 3], dim=1) if t.dim() > 1 and t.shape[1] == CANDIDATES else t
        for name, t in batch.items()
        if name not in ("item_ids", "valid")
    }
    wider["item_ids"] = torch.cat([batch["item_ids"], batch["item_ids"][:, :more]], dim=1)
    wider["valid"] = torch.cat([batch["valid"], torch.zeros_like(batch["valid"][:, :more])], dim=1)
    return wider


@torch.no_grad()
def test_the_order_of_the_candidates_in_the_request_does_not_matter() -> None:
    batch, model = SLATES.tensors(CPU), build()
    order = [4, 0, 5, 2, 1, 3]
    torch.testing.assert_close(model(rearranged(batch, order)), model(batch)[:, order])


@torch.no_grad()
def test_padding_does_not_change_the_logits_of_candidates() -> None:
    batch = SLATES.tensors(CPU)
    model = build(replace(SIZES, candidates=8))
    torch.testing.assert_close(model(padded(batch, 2))[:, :CANDIDATES], model(batch))


@torch.no_grad()
def test_every_candidate_counts_for_every_other_and_filters_do_so_alone() -> None:
    batch, model = SLATES.tensors(CPU), build()
    changed = {**batch, "item_numbers": batch["item_numbers"].clone()}
    changed["item_numbers"][:, 2] += 2.0
    assert ((model(changed) - model(batch)).abs() > 1e-6).all()
    rows, keep = torch.randn(1, CANDIDATES, SIZES.dim), torch.ones(1, CANDIDATES, dtype=torch.bool)
    other = rows.clone()
    other[:, 0] += torch.randn(SIZES.dim)
    moved = model.filters[0](other, keep) - other - (model.filters[0](rows, keep) - rows)
    assert (moved.abs().amax(dim=2) > 1e-6).all()


@torch.no_grad()
def test_candidates_behind_the_filters_places_are_scored_too() -> None:
    logits = build(replace(SIZES, candidates=4))(SLATES.tensors(CPU))
    assert logits.shape == (12, CANDIDATES)
    assert torch.isfinite(logits).all()


def test_shown_positions_are_those_of_the_exposed_list() -> None:
    batch = {"exposed": torch.tensor([[2, 0, 3], [1, -1, -1]]), "valid": torch.ones(2, 4, dtype=torch.bool)}
    assert shown_positions(batch).tolist() == [[1, 0, 0, 2], [0, 0, 0, 0]]


def crowded(count: int) -> list[ListRecord]:
    """Requests whose items of the more frequent of two kinds are clicked: neither kind is better by itself."""
    rng = np.random.default_rng(5)
    records = []
    for index in range(count):
        kinds = rng.integers(2, size=5)
        most = int(kinds.sum() > 2)
        exposed = rng.permutation(5)[:SHOWN]
        clicks = (rng.random(SHOWN) < np.where(kinds[exposed] == most, 0.9, 0.1)).astype(int)
        scores = rng.uniform(0.1, 0.9, 5).tolist()
        candidates = tuple(
            Candidate(f"i{i}", scores={"ctr": s}, features={"kind": f"k{k}"})
            for i, (k, s) in enumerate(zip(kinds.tolist(), scores, strict=True))
        )
        shown, clicked = tuple(exposed.tolist()), tuple(clicks.tolist())
        records.append(ListRecord(f"r{index}", candidates, shown, clicked, tuple([0] * SHOWN)))
    return records


@pytest.mark.long
def test_it_learns_what_depends_on_the_other_candidates_and_a_pointwise_model_cannot(tmp_path: Path) -> None:
    records = crowded(1000)
    spec = fit_spec(records)
    train, valid, test = (
        encode_slates(records[s], spec, SHOWN) for s in (slice(700), slice(700, 800), slice(800, None))
    )
    config = replace(SIZES, candidates=5)
    model, _ = fit_fft_context(spec, train, valid, config=config, options=OPTIONS, folder=tmp_path, device=CPU)
    clicks = test.labels[..., 0].ravel()
    with torch.no_grad():
        shown = model(test.tensors(CPU)).gather(1, torch.from_numpy(test.exposed)).ravel()
    assert roc_auc_score(clicks, shown.numpy()) > 0.8
    pointwise = fit_pointwise(records[:700], spec, seed=0)
    alone = [pointwise.scores({}, {}, r.candidates)["ctr"][list(r.exposed)] for r in records[800:]]
    assert roc_auc_score(clicks, np.concatenate(alone)) < 0.6


def sunk(count: int) -> list[ListRecord]:
    """P(click) = quality · 0.4^position, with better items mostly shown lower."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(count):
        quality = rng.uniform(0.1, 0.9, SHOWN)
        order = np.argsort(quality + rng.normal(0, 0.2, SHOWN))
        clicks = (rng.random(SHOWN) < quality[order] * 0.4 ** np.arange(SHOWN)).astype(int)
        candidates = tuple(Candidate(f"i{i}", features={"quality": float(q)}) for i, q in enumerate(quality))
        records.append(ListRecord(f"r{index}", candidates, tuple(order.tolist()), tuple(clicks.tolist()), (0,) * SHOWN))
    return records


@pytest.mark.long
def test_scores_follow_quality_although_the_log_hid_it_below(tmp_path: Path) -> None:
    records = sunk(1400)
    spec = fit_spec(records)
    train, valid = encode_slates(records[:1200], spec, SHOWN), encode_slates(records[1200:], spec, SHOWN)
    config = replace(SIZES, candidates=SHOWN, layers=1)
    model, _ = fit_fft_context(spec, train, valid, config=config, options=OPTIONS, folder=tmp_path, device=CPU)
    with torch.no_grad():
        batch = valid.tensors(CPU)
        ranked = np.corrcoef(model(batch).ravel(), batch["item_numbers"][..., 0].ravel())[0, 1]
        logged = np.corrcoef(
            batch["labels"][..., 0].ravel(), batch["item_numbers"].gather(1, batch["exposed"][..., None]).ravel()
        )[0, 1]
    assert logged < 0.1
    assert ranked > 0.7


def fitted(folder: Path, *, epochs: int = 3, resume: bool = False, slates: SlateArrays = SLATES) -> FFTContextModel:
    return fit_fft_context(
        SPEC,
        slates,
        SLATES,
        config=SIZES,
        options=replace(OPTIONS, epochs=epochs),
        folder=folder,
        device=CPU,
        resume=resume,
    )[0]


def test_a_trained_model_is_read_back_and_a_finished_run_resumes_to_it(tmp_path: Path) -> None:
    trained = fitted(tmp_path)
    for again in (load_fft_context(tmp_path, SPEC), fitted(tmp_path, resume=True)):
        assert not again.training
        with torch.no_grad():
            torch.testing.assert_close(again(SLATES.tensors(CPU)), trained(SLATES.tensors(CPU)), rtol=0, atol=0)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path)
    with pytest.raises(CheckpointError, match="feature spec"):
        load_fft_context(tmp_path, OTHER_SPEC)
    with pytest.raises(CheckpointError, match="slates was"):
        fitted(tmp_path, resume=True, slates=SLATES.take(np.arange(5)))
    with pytest.raises(ValueError, match="list_length: the slates hold lists of 2, not 3"):
        fitted(tmp_path / "other", slates=encode_slates(RECORDS, SPEC, 2))
