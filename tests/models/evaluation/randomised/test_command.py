"""`listwright evaluate randomised`: what is kept of each list, what is told, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from models import cli
from models.data.list_file import read_lists
from models.data.list_writer import write_lists
from models.data.records import ListRecord
from models.datasets.simulated_logs import load
from models.datasets.simulator import SimulatorConfig
from models.evaluation.planning import formula_sort
from models.evaluation.randomised.estimators import PLAN, SORT, STRATA
from models.evaluation.randomised.observe import LogObserver, Observed, random_lists
from models.nets.checkpoint import Checkpoint, save_checkpoint
from models.nets.value import ValueConfig
from models.planners.references.sort_gen import Preferences
from tests.models.planners.examples import random_model
from tests.models.specs import fit_spec
from tests.models.tables import compact
from tests.models.training.records import make_records

ITEMS, HORIZON, PLACES = 6, 5, 3
UNITS = {"click": 0.05, "conversion": 0.01, "gmv": 0.5}
MIXES = [Preferences(w, (0.05, 0.01, 0.5)) for w in ((5.0, 1.0, 1.0), (1.0, 0.0, 0.0))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists in an order that is random (a temperature beyond all scores); every other one says so."""
    config = SimulatorConfig(users=200, items=60, candidates=ITEMS, seed=1, click_bias=-1.0)
    source = load(config, seed=2, lists=4000, length=ITEMS, temperature=1e6)
    records = list(source.records)
    path = tmp_path_factory.mktemp("random") / "lists.parquet"
    write_lists(path, records, {**source.metadata, "random_order": [r.request_id for r in records[::2]]})
    return path


@pytest.fixture(scope="module")
def checkpoint(data: Path) -> Checkpoint:
    spec = fit_spec(list(read_lists(data, "train")))
    config = ValueConfig(dim=16, layers=1, heads=2, list_length=HORIZON, field_dim=4)
    return Checkpoint(random_model(spec, config, seed=0), UNITS)


@pytest.fixture(scope="module")
def saved(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="module")
def records(data: Path) -> list[ListRecord]:
    return list(random_lists(data)[0])


@pytest.fixture(scope="module")
def observed(checkpoint: Checkpoint, records: list[ListRecord]) -> Observed:
    return observer(checkpoint).observe(iter(records))


def observer(checkpoint: Checkpoint) -> LogObserver:
    return LogObserver(checkpoint, MIXES, places=PLACES, head_width=2, beam_width=1, seed=0)


@pytest.mark.long
def test_the_lists_are_the_test_lists_that_the_file_names(data: Path, records: list[ListRecord]) -> None:
    everything = list(read_lists(data))
    assert records == [r for r in everything[::2] if r.split == "test"]
    assert random_lists(data)[1] == {"named": len(everything[::2])}


def test_what_happened_is_kept(observed: Observed, records: list[ListRecord]) -> None:
    assert observed.sizes.tolist() == [ITEMS] * len(records)
    for row, first, record in zip(observed.realised, observed.outcomes, records, strict=True):
        labels = np.array([record.clicks, record.purchases, record.gmv], np.float64)
        np.testing.assert_allclose(row, labels[:, :HORIZON].sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(first, labels[:, :PLACES].T, rtol=1e-6)


def test_orders_agree_where_they_put_the_item_that_was_shown(
    checkpoint: Checkpoint, observed: Observed, records: list[ListRecord]
) -> None:
    for agreement, wish in zip(observed.agreement, MIXES, strict=True):
        lists = formula_sort(checkpoint, records, wish, PLACES)
        shown = np.array([r.exposed[:PLACES] for r in records])
        np.testing.assert_array_equal(agreement[SORT], lists == shown)
        assert agreement[PLAN].mean() == pytest.approx(1 / ITEMS, abs=0.04)
        assert (agreement[PLAN] != agreement[SORT]).any()


def test_the_order_that_was_shown_does_not_reach_the_plan(
    checkpoint: Checkpoint, observed: Observed, records: list[ListRecord]
) -> None:
    """The same requests shown the other way round are planned alike, so agreement mirrors."""
    turned = [_turned(record) for record in records]
    other = observer(checkpoint).observe(iter(turned))
    for name in (PLAN, SORT):
        planned, again = observed.agreement[0][name], other.agreement[0][name]
        middle = slice(0, 1)
        assert not (planned[:, middle] & again[:, middle]).any()  # an item is not first both ways round
    np.testing.assert_allclose(other.promised, observed.promised, atol=1e-5)


def _turned(record: ListRecord) -> ListRecord:
    labels = {name: tuple(reversed(getattr(record, name))) for name in ("exposed", "clicks", "purchases", "gmv")}
    return ListRecord(
        request_id=record.request_id,
        candidates=record.candidates,
        user=record.user,
        context=record.context,
        split=record.split,
        **labels,
    )


def test_strata_follow_the_click_score(observed: Observed, records: list[ListRecord]) -> None:
    for row, record in zip(observed.strata, records, strict=True):
        scores = [record.candidates[i].scores["ctr"] for i in record.exposed]
        ranks = [sum(other > score for other in scores) for score in scores]
        assert row.tolist() == [rank * STRATA // ITEMS for rank in ranks[:PLACES]]


def test_the_shown_order_is_random_for_the_scores(observed: Observed) -> None:
    agreement = observed.agreement_of_sort
    assert abs(agreement.mean()) < 4 * agreement.std() / len(agreement) ** 0.5


def test_without_a_correction_the_value_alone_is_all_there_is(
    checkpoint: Checkpoint, records: list[ListRecord]
) -> None:
    model = copy.deepcopy(checkpoint.model)
    for head in model.hazard_heads:
        head.share.zero_()
    shut = observer(Checkpoint(model, UNITS)).observe(iter(records))
    kept = observer(checkpoint).observe(iter(records))
    np.testing.assert_array_equal(shut.predicted, shut.alone)
    np.testing.assert_array_equal(shut.predicted, kept.alone)
    assert abs(kept.predicted - kept.alone).mean() > 1e-3
    assert (shut.promised_gain(0, MIXES[0]) == 0).all()  # the sort is served
    assert (checkpoint.model.hazard_heads[0].share > 0).item()


def evaluate(data: Path, saved: Path, *more: str) -> int:
    """The exit status; a status 2 of argparse included."""
    try:
        return cli.main(["evaluate", "randomised", "--data", str(data), "--checkpoint", str(saved), *more])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.long
def test_the_command_prints_and_writes_what_it_found(
    data: Path, saved: Path, records: list[ListRecord], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    options = ["--places", "3", "--depths", "1", "2", "--objectives", "1,0,0", "--coverage", "2"]
    assert evaluate(data, saved, *options, "--json", str(figures)) == 0
    report = json.loads(figures.read_text())
    assert report["lists"] == len(records)
    assert report["data"]["named"] == 2000
    assert set(report["calibration"]) == {"click", "conversion", "gmv"}
    (part,) = report["orders"]
    assert part["weights"] == [1.0, 0.0, 0.0]
    assert [(row["estimator"], row["places"]) for row in part["estimates"]] == [
        ("item and place", 3),
        ("item and the one before", 3),
        ("cascade", 1),
        ("cascade", 2),
    ]
    assert set(report["coverage"]) == {"0.0", "1.0"}
    printed = compact(capsys.readouterr().out)
    assert printed.startswith(f"{len(records):,} test lists in random order, 6.0 items on average, of 2,000")
    assert "**Plan against sort at 1/0/0**" in printed
    assert "| click | what the model promises |" in printed
    assert "**Coverage in the simulator**" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--places", "0"], "--places: must be at least 1, not 0"),
        (["--coverage", "0"], "--coverage: must be at least 1, not 0"),
        (["--places", "2", "--depths", "3"], "--depths: must be within 1 and the 2 of --places, not [3]"),
        (["--places", "6"], "list_length 6 is past the model's horizon 5"),
        (["--objectives", "0,0,0"], "argument --objectives: must be three numbers"),
        (["--checkpoint", "nowhere.pt"], "nowhere.pt: there is no such file"),
    ],
)
def test_what_is_wrong_is_named(
    data: Path, saved: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert evaluate(data, saved, *options) == 2
    assert message in capsys.readouterr().err


def test_a_file_must_say_which_lists_are_in_random_order(
    tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lists.parquet"
    write_lists(path, make_records(3, split="test"), {"source": "mine"})
    assert evaluate(path, saved, "--places", "2", "--depths", "1") == 2
    assert "does not say which lists were shown in random order" in capsys.readouterr().err
    write_lists(path, make_records(3, split="train"), {"random_order": ["r-0", "r-1"]})
    assert evaluate(path, saved, "--places", "2", "--depths", "1") == 2
    assert "there are no lists of at least two items in random order" in capsys.readouterr().err


def test_how_far_scores_foretell_an_order_by_hand(checkpoint: Checkpoint, records: list[ListRecord]) -> None:
    by_score = sorted(range(ITEMS), key=lambda i: -records[0].candidates[i].scores["ctr"])
    swapped = [by_score[1], by_score[0], *by_score[2:]]
    orders = [by_score, by_score[::-1], swapped]
    shown = [dataclasses.replace(records[0], request_id=str(i), exposed=tuple(o)) for i, o in enumerate(orders)]
    pairs = ITEMS * (ITEMS - 1) / 2
    found = observer(checkpoint).observe(iter(shown)).agreement_of_sort
    assert found.tolist() == pytest.approx([1.0, -1.0, 1 - 2 / pairs])
    alike = [dataclasses.replace(c, scores={**c.scores, "ctr": 0.1}) for c in records[0].candidates]
    same = dataclasses.replace(records[0], candidates=tuple(alike))
    assert np.isnan(observer(checkpoint).observe(iter([same])).agreement_of_sort).all()
