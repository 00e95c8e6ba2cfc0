"""Make jobs whose answers can be checked, and the engine that answers them at once.

Every row has a stamp, which no other has: who asks, and the number of the job. The engine returns it, a digest of all
bytes of the row, and arrays of a real model's shapes that are computed from the row.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Final, Literal
from zlib import crc32

import numpy as np

from models.contract.arrays import AnyArray, Arrays, Floats32, Ints
from models.contract.manifest import Manifest
from models.contract.tensor_specs import TensorSpec
from service.engines.wire import Key

KEY: Final = Key("handover", "1", "a model that answers at once")
STAMP: Final = "stamp"
DIGEST: Final = "digest"
ORDER: Final = "order"
RUNNER_UP: Final = "runner_up"
Problem = Literal["swapped", "wrong"]
"""The answer of another job, or one that no job has."""

_ROWS: Final = 64
_SLOTS: Final = 40
_STEPS: Final = np.arange(10)


class EchoEngine:
    """Answer each row with its stamp, its digest, and what is computed from it.

    Every `spoil`-th run gives its first job the answer that the last job of the run before got; 0: none. A run waits
    for `run_seconds` first, as for a device.
    """

    provider: Final = "cpu"
    largest_batch: Final = 64
    thread_safe: Final = True

    def __init__(self, spoil: int = 0, run_seconds: float = 0.0) -> None:
        self._spoil = spoil
        self._run_seconds = run_seconds
        self._runs = itertools.count(1)
        self._before: Arrays | None = None

    def run(self, batch: Mapping[str, AnyArray]) -> Arrays:
        if self._run_seconds:
            time.sleep(self._run_seconds)
        names = sorted(batch.keys() - {STAMP})
        stamps = batch[STAMP]
        digests = [crc32(stamp.tobytes(), _digest(batch, names, i)) for i, stamp in enumerate(stamps)]
        answer = _outputs(stamps, np.array(digests, np.int64), batch["price"])
        if self._spoil:
            self._swap(answer)
        return answer

    def warm_runs(self, _: Mapping[str, AnyArray]) -> Iterator[None]:
        """Return no runs."""
        return iter(())

    def _swap(self, answer: Arrays) -> None:
        last = {name: array[-1].copy() for name, array in answer.items()}
        if next(self._runs) % self._spoil == 0 and self._before is not None:
            for name, array in answer.items():
                array[0] = self._before[name]
        self._before = last


class Rows:
    """Make the rows of one asker, and check their answers.

    The arrays are those of the bundle's graph, with embeddings of `width`, filled at random. Each asker draws its own,
    so that values which went to another asker differ from those due there.
    """

    def __init__(self, manifest: Manifest, asker: int, *, width: int) -> None:
        rng = np.random.default_rng(asker)
        self._asker = asker
        self._rows = [{t.name: _made_up(t, width, rng) for t in manifest.inputs} for _ in range(_ROWS)]
        names = sorted(self._rows[0])
        batches = [{name: array[None] for name, array in row.items()} for row in self._rows]
        self._digests = [_digest(batch, names, 0) for batch in batches]
        self._fixed = [{name: array.tobytes() for name, array in _fixed(batch["price"]).items()} for batch in batches]

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row's arrays."""
        return sum(array.nbytes for array in self.make(0).values())

    def make(self, number: int) -> Arrays:
        """Return the row of the job of this number."""
        return {**self._rows[number % _ROWS], STAMP: np.array([self._asker, number], np.int64)}

    def problem(self, number: int, answer: Mapping[str, AnyArray]) -> Problem | None:
        """Return what is wrong with the answer to the job of this number, or None."""
        if answer.keys() != {STAMP, DIGEST, ORDER, RUNNER_UP, *self._fixed[0]}:
            return "wrong"
        stamp = np.array([self._asker, number], np.int64)
        if answer[STAMP].tobytes() != stamp.tobytes():
            return "swapped"
        digest = np.int64(crc32(stamp.tobytes(), self._digests[number % _ROWS]))
        order = (digest + _STEPS) % _SLOTS
        computed = {DIGEST: digest, ORDER: order, RUNNER_UP: order[::-1]}
        expected = {name: array.tobytes() for name, array in computed.items()} | self._fixed[number % _ROWS]
        return None if all(answer[name].tobytes() == told for name, told in expected.items()) else "wrong"


def _made_up(tensor: TensorSpec, width: int, rng: np.random.Generator) -> AnyArray:
    """Fill one array, without its first axis, which is the batch.

    An axis that has no size is the width of embeddings.
    """
    shape = [size if isinstance(size, int) else width for size in tensor.shape[1:]]
    kind = np.dtype(tensor.dtype)
    drawn = (
        rng.standard_normal(shape) if kind.kind == "f" else rng.integers(0, 2 if kind.kind == "b" else _SLOTS, shape)
    )
    return np.asarray(drawn, kind)


def _digest(batch: Mapping[str, AnyArray], names: list[str], i: int) -> int:
    """Return a digest of one row's arrays in the order of their names."""
    found = 0
    for name in names:
        found = crc32(batch[name][i].tobytes(), found)
    return found


def _outputs(stamps: AnyArray, digests: Ints, prices: AnyArray) -> Arrays:
    """Compute the answers to rows with these stamps, digests and prices."""
    order = (digests[:, None] + _STEPS) % _SLOTS
    return {STAMP: stamps.copy(), DIGEST: digests, ORDER: order, RUNNER_UP: order[:, ::-1].copy(), **_fixed(prices)}


def _fixed(prices: AnyArray) -> Arrays:
    """Compute what depends on the prices alone."""
    score: Floats32 = np.array(prices[:, : len(_STEPS)], np.float32)
    return {"score": score, "penalty": -score, "value": np.repeat(score[:, :, None], 3, axis=2)}
