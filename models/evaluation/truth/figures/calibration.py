"""Hold predicted clicks of lists against true expected ones, for logged and for planned lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.batches import encode_lists
from models.data.records import ListRecord
from models.evaluation.simulated.comparison import true_values
from models.evaluation.truth.figures.intervals import Sample, mean_of
from models.evaluation.truth.figures.results import PointResults
from models.evaluation.truth.figures.rows import SORT_GEN_BEAM, title_of
from models.evaluation.truth.paths import fit_step
from models.judging.value_report import predict
from models.nets.checkpoint import Checkpoint, load_checkpoint
from models.reporting.contents import Chart, Figure, Line
from models.reporting.numbers import gain_text
from models.training.value import CHECKPOINT_FILE

BINS: Final = 10
FIT: Final = "sort"


def calibration_chart(point: PointResults) -> Chart | None:
    """Draw the calibration of the first seed's value model.

    None if the model, or the lists that it planned, are missing.
    """
    checkpoint, planned = value_model(point), point.first_lists(SORT_GEN_BEAM)
    if checkpoint is None or planned is None:
        return None
    logged = np.array([case.record.exposed[: case.length] for case in point.bench.cases], np.int64)
    lines = {"logged lists": logged, f"lists of {title_of(point, SORT_GEN_BEAM)}": planned}
    found = {title: _clicks(point, checkpoint, lists) for title, lists in lines.items()}
    return Chart(
        name="calibration",
        title="Calibration of the value model, seed 0",
        kind="calibration",
        x_title="predicted clicks of a list, mean of a tenth of the lists",
        y_title="true expected clicks",
        lines=[_line(title, predicted, truth) for title, (predicted, truth) in found.items()],
        finding=" ".join(_sentence(title, predicted, truth) for title, (predicted, truth) in found.items()),
    )


def value_model(point: PointResults) -> Checkpoint | None:
    """Load the value model of the first seed; None if it was not trained."""
    path = point.root / fit_step(point.point.name, FIT, 0) / CHECKPOINT_FILE
    return load_checkpoint(path) if path.is_file() else None


def _clicks(point: PointResults, checkpoint: Checkpoint, lists: Ints) -> tuple[Floats, Floats]:
    """Predict the clicks [n] of lists [n, m], and compute the true ones."""
    cases = point.bench.cases
    records = [_shown(case.record, chosen) for case, chosen in zip(cases, lists.tolist(), strict=True)]
    data = encode_lists(records, checkpoint.spec, checkpoint.config.list_length)
    predicted = predict(checkpoint.model, data, point.bench.device)[:, lists.shape[1] - 1, 0].astype(np.float64)
    return predicted, true_values(cases, lists)[:, 0]


def _shown(record: ListRecord, chosen: Sequence[int]) -> ListRecord:
    """Make the record of another list shown, without its outcomes."""
    return replace(record, exposed=tuple(chosen), clicks=(0,) * len(chosen), purchases=None, gmv=None)


def _line(title: str, predicted: Floats, truth: Floats) -> Line:
    parts = list(_bins(predicted))
    found = [mean_of(Sample(truth[None, rows])) for rows in parts]
    return Line(
        title=title,
        x=[float(predicted[rows].mean()) for rows in parts],
        y=[figure.mean for figure in found],
        low=[figure.low for figure in found],
        high=[figure.high for figure in found],
    )


def _bins(predicted: Floats) -> Iterator[Ints]:
    """Split the lists into tenths by what is predicted."""
    order = np.argsort(predicted, kind="stable")
    yield from (rows for rows in np.array_split(order, BINS) if len(rows))


def _sentence(title: str, predicted: Floats, truth: Floats) -> str:
    """Say how far the predictions are off on average."""
    off = gain_text(Figure(mean=float(predicted.mean() / truth.mean() - 1)), 1)
    return f"Of {title}, {predicted.mean():.3f} clicks are predicted and {truth.mean():.3f} are true ({off})."
