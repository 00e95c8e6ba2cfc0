"""Try one bundle in this process, which serves nothing and so may crash or hang.

Started by `service/bundles/trial.py` only, with an order in JSON as the argument.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec

from service.bundles.load import check_place, identity, load_bundle
from service.bundles.model import BundleError, Model
from service.bundles.trial import Order, Report, Sound, Stage, Unsound
from service.contract.decoding import decode_request
from service.inference.engine import stack_rows
from service.inference.onnx.session import SessionConfig
from service.ranking.dealt import deal_request, encode_request, graph_inputs
from service.ranking.example import example_request, with_rule_tensors

_PR_SET_PDEATHSIG: Final = 1
_STDOUT: Final = 1
_STDERR: Final = 2
_FIRST_TO_KILL: Final = "1000"

Begin = Callable[[str], None]
"""Told what begins now."""


def try_bundle(folder: Path, config: SessionConfig, begin: Begin) -> dict[str, str]:
    """Load, replay and run; return the bundle's identity. Raises `BundleError` naming the fault."""
    if config.cache_folder is not None:
        # The first load leaves the optimised graph in the cache, so that what is tried is the graph that will serve.
        load_bundle(folder, config, golden=False, begin=begin)
    model = load_bundle(folder, config, begin=begin)
    check_place(model.manifest, folder)
    begin("running an example request")
    _run_example(model)
    begin("closing the model")
    return identity(model.manifest)


def _run_example(model: Model) -> None:
    """Run the first warm-up request alone and in the largest batch.

    A bundle that serves rules is also given some for it, alone and among others without.
    """
    most = model.engine.largest_batch
    try:
        request = decode_request(json.dumps(example_request(model.manifest)).encode())
        row = graph_inputs(model, encode_request(deal_request(request, model)))
        batches = [[row], [row] * most]
        if model.manifest.ruled is not None:
            ruled = with_rule_tensors(row, model.manifest, model.manifest.ruled)
            batches += [[ruled], [ruled, *[row] * (most - 1)]]
        for batch in batches:
            model.engine.run(stack_rows(batch))
    except Exception as error:
        raise BundleError(f"a warm-up request cannot be run: {error}") from error


def main() -> None:
    """Carry out the order, and report."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    with _take_stdout() as reports:

        def tell(report: Report) -> None:
            reports.write(msgspec.json.encode(report) + b"\n")
            reports.flush()

        _end_with_parent(order)
        _limit_harm()
        tell(_result(order, lambda stage: tell(Stage(stage))))


def _result(order: Order, begin: Begin) -> Report:
    config = SessionConfig(
        intra_op_threads=order.threads,
        max_batch=order.max_batch,
        cache_folder=None if order.cache_folder is None else Path(order.cache_folder),
    )
    try:
        return Sound(try_bundle(Path(order.folder), config, begin))
    except BundleError as error:
        return Unsound(str(error))
    except Exception as error:
        return Unsound(f"cannot be loaded: {error!r}")


def _take_stdout() -> IO[bytes]:
    """Return a stream to standard output, and send what others write there to standard error."""
    own = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    return os.fdopen(own, "wb")


def _end_with_parent(order: Order) -> None:
    """Let this process end when its parent does, and in any case after its time."""
    if hasattr(signal, "setitimer"):  # For systems without the next: the alarm ends a process that hangs, too.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 2 * order.seconds)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != order.parent:  # It has ended before that call.
            sys.exit("the process that began this trial has ended")


def _limit_harm() -> None:
    """Write no core dump, and be the first process to end where memory runs out."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # Only Linux has it.
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_KILL)


if __name__ == "__main__":
    main()
