"""The logging policy with a share of random places: its two ends, its propensities, and what its files say."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.datasets.declared_world import DECLARED, EXPLORATION
from models.datasets.simulated_logs import EXPLORED, EXPOSURE, explore, load
from models.datasets.simulator import SimulatedRequest, Simulator, SimulatorConfig

TINY = SimulatorConfig(users=20, items=30, candidates=4)
DRAWS = 20_000


def sorted_by_formula(request: SimulatedRequest) -> list[int]:
    utility = np.log(request.ctr) + 0.3 * np.log(request.cvr * request.price)
    order: list[int] = np.argsort(-utility).tolist()
    return order


def propensity(order: list[int], shown: tuple[int, ...], exploration: float) -> float:
    """The chance that the policy shows a list, place by place."""
    left, chance = list(order), 1.0
    for item in shown:
        chance *= exploration / len(left) + (1 - exploration) * (item == left[0])
        left.remove(item)
    return chance


def test_without_exploration_the_list_is_the_sort() -> None:
    world, rng = Simulator(SimulatorConfig(users=20, items=40, candidates=12)), np.random.default_rng(0)
    for index in range(20):
        request = world.request(0, index)
        shown = explore(request, length=7, exploration=0.0, rng=rng)
        assert shown.tolist() == sorted_by_formula(request)[:7]


@pytest.mark.parametrize("exploration", [0.0, 0.3, 1.0])
def test_each_list_is_shown_as_often_as_its_propensity_says(exploration: float) -> None:
    request, rng = Simulator(TINY).request(0, 0), np.random.default_rng(7)
    shown = Counter(tuple(explore(request, length=3, exploration=exploration, rng=rng).tolist()) for _ in range(DRAWS))
    order = sorted_by_formula(request)
    chances = {each: propensity(order, each, exploration) for each in permutations(range(4), 3)}
    assert sum(chances.values()) == pytest.approx(1)
    for each, chance in chances.items():
        error = sqrt(chance * (1 - chance) / DRAWS)
        assert abs(shown[each] / DRAWS - chance) <= 4.5 * error


def test_the_file_says_which_policy_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    common = ["data", "simulator", "--lists", "40", "--quiet", "-o", str(path)]
    for options, parameter, exposure in (
        ([], {"temperature": 1.0}, EXPOSURE),
        (["--temperature", "0.5"], {"temperature": 0.5}, EXPOSURE),
        (["--exploration", "0.1"], {"exploration": 0.1}, EXPLORED),
        (["--declared"], {"exploration": EXPLORATION}, EXPLORED),
        (["--declared", "--temperature", "2"], {"temperature": 2.0}, EXPOSURE),
    ):
        assert main([*common, *options]) == 0
        metadata = read_metadata(path)
        assert {name: metadata[name] for name in ("temperature", "exploration") if name in metadata} == parameter
        assert metadata["exposure"] == exposure
        config = SimulatorConfig.from_metadata(metadata)
        again = load(config, seed=0, lists=40, length=10, **parameter)
        assert list(again.records) == list(read_lists(path))


def test_the_command_starts_from_the_declared_world_and_changes_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    options = ["--declared", "--kappa", "0", "--world-seed", "3", "--users", "90", "--lists", "20", "--quiet", "-o"]
    assert main(["data", "simulator", *options, str(path)]) == 0
    config = SimulatorConfig.from_metadata(read_metadata(path))
    assert (config.kappa, config.seed, config.users) == (0.0, 3, 90)
    assert (config.brands, config.candidates, config.ctr_slope) == (
        DECLARED.brands,
        DECLARED.candidates,
        DECLARED.ctr_slope,
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--exploration", "1.5"], "exploration"),
        (["--exploration", "-0.1"], "exploration"),
        (["--exploration", "nan"], "exploration"),
        (["--brands", "-1"], "brands"),
        (["--click-anchoring", "-1"], "click_anchoring"),
        (["--brand-fatigue", "2"], "brand_fatigue"),
        (["--ctr-slope", "-1"], "ctr_slope"),
        (["--declared", "--length", "21"], "length"),
        (["--category-feature", "kind"], "--category-feature"),
    ],
)
def test_a_wrong_option_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    assert main(["data", "simulator", "--quiet", "-o", str(tmp_path / "x.parquet"), *options]) == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_list_has_one_logging_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["--temperature", "1", "--exploration", "0.1", "-o", str(tmp_path / "x.parquet")]
    with pytest.raises(SystemExit):
        main(["data", "simulator", *options])
    assert "not allowed with" in capsys.readouterr().err
