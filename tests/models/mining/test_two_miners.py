"""Two processes never mine into one folder at the same time, and a weight of nothing is never learnt from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.locks import LockedError, only_one
from models.mining.shards import MinedError, shard_path
from tests.models.mining.examples import evaluator, mine_some, read_mined, some_records

RECORDS = some_records()
EVALUATOR = evaluator(RECORDS)


def test_a_folder_that_is_being_mined_into_is_left_alone(tmp_path: Path) -> None:
    half_written = tmp_path / ".shard-00000.parquet.1.partial"
    with only_one(tmp_path):
        half_written.touch()
        with pytest.raises(LockedError, match="another process"):
            mine_some(tmp_path, EVALUATOR, RECORDS)
    assert half_written.exists()
    mine_some(tmp_path, EVALUATOR, RECORDS)
    assert len(read_mined(tmp_path, RECORDS, EVALUATOR.spec)) == len(RECORDS)


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_weights_that_are_no_distribution_are_named(tmp_path: Path, factor: float) -> None:
    mine_some(tmp_path, EVALUATOR, RECORDS)
    path = shard_path(tmp_path, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[2]["weights"] = [factor * weight for weight in rows[2]["weights"]]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    with pytest.raises(MinedError, match=rf"shard-00001.*list '{rows[2]['request_id']}', column weights: are no distr"):
        read_mined(tmp_path, RECORDS, EVALUATOR.spec)
