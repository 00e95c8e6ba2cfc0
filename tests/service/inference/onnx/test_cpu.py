"""The engine on CPU: any number of rows up to the largest batch, each answered as if it were alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.contract.manifest import GOLDEN_FILE, MODEL_FILE, Manifest
from service.inference.engine import BatchArrays, warm_fully
from service.inference.onnx.cpu import CpuEngine
from service.inference.onnx.session import SessionConfig, session_options


def golden(folder: Path, rows: slice) -> BatchArrays:
    names = [t.name for t in Manifest.read(folder).inputs]
    with np.load(folder / GOLDEN_FILE) as file:
        return {name: file[f"input.{name}"][rows] for name in names}


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_each_row_is_answered_as_if_it_were_alone(any_bundle: Path, rows: int) -> None:
    engine = CpuEngine(any_bundle / MODEL_FILE, SessionConfig(max_batch=4), "sha")
    together = engine.run(golden(any_bundle, slice(0, rows)))
    for i in range(rows):
        alone = engine.run(golden(any_bundle, slice(i, i + 1)))
        for name, array in together.items():
            assert len(array) == rows
            assert np.allclose(array[i], alone[name][0], rtol=1e-4, atol=1e-5), name


def test_warming_runs_every_batch_size_once_at_least(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CpuEngine(bundle / MODEL_FILE, SessionConfig(max_batch=3), "sha")
    seen: list[int] = []
    run = engine.run

    def record(batch: BatchArrays) -> object:
        seen.append(len(batch["valid"]))
        return run(batch)

    monkeypatch.setattr(engine, "run", record)
    warm_fully(engine, golden(bundle, slice(0, 1)))
    assert set(seen) == {1, 2, 3}
    assert engine.largest_batch == 3


def test_threads_are_those_of_the_settings_and_do_not_spin() -> None:
    options = session_options(SessionConfig(intra_op_threads=3))
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert not options.enable_mem_reuse
