"""The rate of true list values: fast enough for sweeps, and a command that prints it."""

from __future__ import annotations

import re
import statistics

import pytest

from models.datasets.simulator_speed import main, values_per_second


def test_a_core_computes_a_hundred_thousand_list_values_a_second() -> None:
    assert statistics.median(values_per_second(lists=1000, requests=15)) > 100_000


def test_the_command_prints_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--lists", "50", "--requests", "3"])
    assert re.fullmatch(r"[\d,]+ list values a second \(.*\)\n", capsys.readouterr().out)


def test_a_size_below_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--lists", "0"])
    assert "at least 1" in capsys.readouterr().err
