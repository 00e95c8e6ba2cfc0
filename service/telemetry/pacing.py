"""Read metrics in a thread without holding up the event loop.

A thread that never waits gives the interpreter's lock up every 5 ms only, each time that the event loop wants it. A
collection of garbage does not give it up at all, and snapshots make enough objects for one every few scrapes.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from time import sleep
from typing import Final

from prometheus_client.samples import Sample

# Some 32 samples take 0.4 ms. The lock is then free long enough for a thread that waits for it.
SAMPLES_AT_ONCE: Final = 32
_PAUSE_SECONDS: Final = 0.0003


def spare_what_is_loaded() -> None:
    """Leave all objects that exist now out of later collections of garbage.

    Those of the libraries alone take a collection tens of milliseconds, and none of them is ever garbage.
    """
    gc.collect()
    gc.freeze()


def pause() -> None:
    """Let other threads run."""
    sleep(_PAUSE_SECONDS)


def paced(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield all samples, with pauses."""
    for count, sample in enumerate(samples, 1):
        yield sample
        if not count % SAMPLES_AT_ONCE:
            pause()
