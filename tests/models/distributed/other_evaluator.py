"""Mine with an evaluator that was replaced, and with one that is gone, on a cluster; for a network namespace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.distributed.cluster import RayOptions, connected
from models.distributed.mining import RayFill
from models.mining.mine import mine
from models.mining.miner import MiningOptions
from models.mining.shards import MinedError
from models.nets.checkpoint import CheckpointError, save_checkpoint
from tests.models.mining.examples import CPU, encoded, evaluator, some_records

OPTIONS = RayOptions("local", workers=1, device="cpu")
MINING = MiningOptions(width=4, shard_size=3)


def main(folder: Path) -> None:
    """Let both runs fail, each with the error of its actor."""
    records = some_records()
    own, path = evaluator(records), folder / "evaluator.pt"
    slates = encoded(records, own)
    save_checkpoint(path, evaluator(records, seed=1))
    with connected(OPTIONS) as cluster:
        fill = RayFill(path, cluster)
        with pytest.raises(MinedError, match=r"evaluator\.pt: is another evaluator than the run began with"):
            mine(own, slates, folder / "mined", options=MINING, device=CPU, fill=fill)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"evaluator\.pt: there is no such file"):
            mine(own, slates, folder / "mined", options=MINING, device=CPU, fill=fill)
    print("both as expected")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
