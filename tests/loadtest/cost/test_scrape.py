"""How long a scrape holds up a loop: those of one process, of a worker and of the supervisor are all measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.cost.scrape import LIMIT_MS, Longest, Pauses, main, render
from tests.service.tiny_bundle import write_bundle


@pytest.mark.long
def test_every_loop_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_bundle(tmp_path)
    status = main(["--bundle", str(bundle), "--versions", "3", "--scrapes", "2"])
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["one process", "one of two workers", "supervisor of two"]
    assert all(int(row[2]) > 500 and min(float(cell) for cell in row[3:]) > 0 for row in rows)
    assert status == ("not under" in text)


def test_a_loop_that_is_held_up_for_too_long_is_named() -> None:
    idle = [Longest(0.1, 0.2)]
    fine = Pauses.of("one process", 900, [50.0], [Longest(2, 3), Longest(1, 9), Longest(3, 1)], idle)
    assert (fine.scrapes, fine.cpu, fine.cpu_longest, fine.clock, fine.clock_idle) == (3, 2, 3, 3, 0.2)
    slow = Pauses.of("supervisor of two", 900, [50.0], [Longest(LIMIT_MS, 30)], idle)
    assert render([fine]).endswith("verdict: all are under 20 ms of CPU")
    assert render([fine, slow]).endswith("verdict: supervisor of two: not under 20 ms of CPU")
