"""The demo runs with what a serving installation has, since `make demo` installs nothing else; its truth is true."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from loadtest.demo_requests import DEMO_REQUESTS, read_demo_requests
from loadtest.demo_requests import main as write_demo_requests
from loadtest.demo_truth import DEMO_WORLD, DemoTruth
from models.data.list_writer import write_lists
from models.datasets import simulated_logs
from models.datasets.simulator import Simulator

EXTRAS: Final = ("lightgbm", "locust", "onnx", "psutil", "pyarrow", "requests", "scipy", "sklearn", "tabulate", "torch")
PROGRAM: Final = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None  # An import of it then raises ImportError.
__import__(sys.argv[1])
"""


@pytest.mark.long
@pytest.mark.parametrize("module", ["loadtest.demo", "service.command", "models.cli"])
def test_it_is_imported_without_the_extras(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, module, *EXTRAS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_requests_are_the_first_held_out_ones_of_the_simulators_log(tmp_path: Path) -> None:
    source = simulated_logs.load(DEMO_WORLD, seed=7, lists=300, length=10)
    write_lists(tmp_path / "lists.parquet", source.records, source.metadata)
    again = tmp_path / "requests.json"
    write_demo_requests([str(tmp_path / "lists.parquet"), "--output", str(again)])
    assert again.read_bytes() == DEMO_REQUESTS.read_bytes()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def worth(world: Simulator, request: dict[str, Any], places: Sequence[int]) -> list[float]:
    """The formulas of the simulator's own description, item by item, from what the request says of each."""
    drawn, c = world.find(request["request_id"]), world.config
    items = [int(request["candidates"][place]["id"][1:]) for place in places]
    prices = [request["candidates"][place]["price"] for place in places]
    totals = [0.0, 0.0, 0.0]
    for j, item in enumerate(items):
        at = drawn.items.tolist().index(item)
        new = unfollowed = 1.0
        weights, log_prices = 0.0, 0.0
        for k, other in enumerate(items[:j]):
            w = c.memory ** (j - k - 1)
            new *= 1 - w * max(0.0, float(world.item_latent[item] @ world.item_latent[other]))
            follows = world.successor[world.category[other]] == world.category[item]
            unfollowed *= 1 - w * float(follows)
            weights, log_prices = weights + w, log_prices + w * math.log(prices[k])
        anchor = math.tanh(log_prices / weights - math.log(prices[j])) if j else 0.0
        click = sigmoid(drawn.relevance[at] + c.kappa * (c.complement * (1 - unfollowed) - c.redundancy * (1 - new)))
        click *= math.exp(-c.decay * j)
        purchase = click * sigmoid(drawn.appeal[at] + c.kappa * (c.anchoring * anchor - c.substitution * (1 - new)))
        totals = [t + value for t, value in zip(totals, (click, purchase, purchase * prices[j]), strict=True)]
    return totals


def test_the_true_value_of_a_list_is_that_of_the_simulators_formulas() -> None:
    truth, world, rng = DemoTruth(), Simulator(DEMO_WORLD), random.Random(0)
    for request in read_demo_requests():
        for length in (1, 2, 10, 20):
            places = rng.sample(range(20), length)
            found = truth.value(request, places)
            assert list(found) == ["click", "conversion", "gmv"]
            assert list(found.values()) == pytest.approx(worth(world, request, places), rel=1e-9)


def test_a_request_of_another_world_has_no_truth() -> None:
    request, other = read_demo_requests()[:2]
    with pytest.raises(ValueError, match="none of the demo's world"):
        DemoTruth().value({**request, "request_id": other["request_id"]}, [0])
    with pytest.raises(ValueError, match="not one of the simulator's"):
        DemoTruth().value({**request, "request_id": "r-1"}, [0])
