"""Cost growth: from tiny models over a real service to one table."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from loadtest.rig.openloop.build import why_unavailable
from tests.loadtest.tables import squeezed

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")


@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.slow
def test_every_point_is_measured_and_one_size_varies_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from loadtest.cost import growth

    monkeypatch.setattr(growth, "SWEEPS", {"length": (3,), "candidates": (40,), "batch": (3,)})
    file = tmp_path / "growth.json"
    short = ["--dim", "8", "--blocks", "2", "--seconds", "0.3", "--out", str(tmp_path / "models")]
    assert growth.main([*short, "--json", str(file)]) == 0
    rows = json.loads(file.read_text("utf-8"))["rows"]
    varied = {row["varied"]: [row[name] for name in ("length", "dim", "candidates", "batch")] for row in rows}
    base = [10, 8, 100, 1]
    assert varied == {"base": base, "length": [3, 8, 100, 1], "candidates": [10, 8, 40, 1], "batch": [10, 8, 100, 3]}
    assert all(float(row["engine ms"]) > 0 for row in rows)
    assert [row["service p50 ms"] == "–" for row in rows] == [False, False, False, True]
    assert "| length | 3 | 8 | 100 | 1 |" in squeezed(capsys.readouterr().out)


def test_a_model_of_no_width_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from loadtest.cost import growth

    with pytest.raises(SystemExit, match="2"):
        growth.main(["--dim", "0", "--out", str(tmp_path)])
    assert "dim" in capsys.readouterr().err


def test_the_bundles_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    from loadtest.cost import growth

    for option in ("--bundles", "--bundle", "--candidates"):
        with pytest.raises(SystemExit, match="2"):
            growth.main([option, "1"])
        assert f"unrecognized arguments: {option}" in capsys.readouterr().err
