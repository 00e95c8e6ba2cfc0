"""The cost of a catalogue: from made-up items to a table, with every target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadtest.cost import catalogue
from loadtest.cost.catalogue_items import BRANDS, SPEC, item_ids, write_synthetic
from models.contract.catalogue.catalogue import Catalogue
from models.contract.features import Encoder
from tests.loadtest.tables import squeezed


def test_made_up_items_are_found_with_all_that_they_have(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    found = Catalogue(write_synthetic(folder, 3000, 8), folder)
    ids = item_ids(range(3001))
    assert (found.locate(ids) >= 0).tolist() == [*[True] * 3000, False]
    encoder, places = Encoder(SPEC), np.arange(3000)
    layer = found.layer(ids, encoder)
    brands = layer.values("brand", places)
    assert None in brands
    assert len(set(brands)) > 400
    assert set(brands) <= {*BRANDS, None}
    rows = [-1 if brand is None else encoder.item_columns[1].row(brand) for brand in brands]
    assert layer.rows(encoder.item_columns[1], places).tolist() == rows
    assert np.allclose(np.linalg.norm(layer.embeddings(places), axis=1), 1)
    assert np.array_equal(
        layer.numbers("stars", places), np.array(layer.values("stars", places), float), equal_nan=True
    )


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system tells no memory")
def test_every_figure_is_measured_and_put_beside_its_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "TARGETS", dict.fromkeys(catalogue.TARGETS, 1e9) | {"30 lookups, ms": 0.0})
    file = tmp_path / "figures.json"
    options = ["--items", "2000", "--width", "4", "--repeats", "20", "--folder", str(tmp_path), "--json", str(file)]
    assert catalogue.main(options) == 1
    written = json.loads(file.read_text("utf-8"))
    assert written["missed"] == ["30 lookups, ms"]
    assert set(written["figures"]) == set(catalogue.TARGETS)
    assert all(value > 0 for name, value in written["figures"].items() if name.endswith("ms"))
    shown = squeezed(capsys.readouterr().out)
    assert "2,000 items, embeddings of 4" in shown
    assert "| open, ms | < 1e+09 |" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
