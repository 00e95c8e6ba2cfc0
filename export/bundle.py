"""Write a bundle: ``<root>/<name>/<version>/{model.onnx, bundle.json, golden.npz}``.

The folder appears under its name only when everything in it has been written, loaded again and proved; a proof that
fails leaves nothing behind. The service has its own, independent checks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from export.families.family import VERDICT, ModelFamily
from export.proof.precision import Precision, to_half
from export.proof.requests import random_requests, stack
from export.proof.verify import Proof, prove
from export.proof.verify_value import ValueProof, prove_value
from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import (
    FINGERPRINT_KEY,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    DiversityDefaults,
    Limits,
    Manifest,
    Partition,
    QueueSpec,
)
from models.planners.graphs.graph import OPSET, Graph
from models.planners.runtime import GraphPlanner

GOLDEN_REQUESTS: Final = 24
_GOLDEN_RANKS: Final = 4
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ExportError(ValueError):
    """Report a bundle that cannot be written; the message says why."""


@dataclass(frozen=True)
class BundleOptions:
    """Hold all that a bundle has beside its model.

    A request may override queues, objectives, diversity and partition. `most_lost` is how many percent of list value a
    reduced `precision` may lose; `accept_worse` lets a model through whose lists are worse than those of the sort that
    it would replace.
    """

    name: str
    version: str
    limits: Limits
    queues: tuple[QueueSpec, ...]
    fallback: str
    objectives: Mapping[str, float]
    diversity: DiversityDefaults
    partition: Partition = "bfs"
    precision: Precision = "fp32"
    most_lost: float = 1.0
    accept_worse: bool = False

    def __post_init__(self) -> None:
        for key in ("name", "version"):
            if not _NAME.fullmatch(getattr(self, key)):
                raise ExportError(f"{key}: must be letters, digits, '.', '_' or '-', not {getattr(self, key)!r}")
        if not 1 <= len(self.queues) <= self.limits.queues:
            raise ExportError(f"queues: must be 1 to {self.limits.queues} queues, not {len(self.queues)}")
        named = [(f"queue {queue.name!r}", queue.score) for queue in self.queues]
        for what, formula in (*named, ("fallback", self.fallback)):
            try:
                compile_formula(formula)
            except FormulaError as error:
                raise ExportError(f"{what}: {formula!r} {error}") from None


def write_bundle(
    root: Path, family: ModelFamily, options: BundleOptions, *, requests: int = 1000, seed: int = 0
) -> tuple[Path, Proof | ValueProof]:
    """Build, prove and publish a bundle; returns its folder and the proof.

    Raises `ExportError` if the version exists already or the model is worse than the sort, `ProofError` if graph and
    reference disagree or too much value is lost, `ValueError` if the limits do not fit the model or its verdict cannot
    be read.
    """
    target = root / options.name / options.version
    if target.exists():
        raise ExportError(f"{target}: exists already; a version is never changed, choose another")
    verdict = family.verdict
    if verdict.outcome == "worse" and not options.accept_worse:
        raise ExportError(
            f"the model is worse than the sort that would be served without it: {verdict.sentence} "
            "(--accept-worse exports it all the same)"
        )
    graph = family.graph(options.limits)
    model = graph.build({FINGERPRINT_KEY: family.spec.fingerprint})
    serialised = (to_half(model) if options.precision == "fp16" else model).SerializeToString()
    planner = GraphPlanner(serialised)
    proof: Proof | ValueProof
    if options.precision == "fp16":
        proof = prove_value(planner, family, options.limits, most_lost=options.most_lost, requests=requests, seed=seed)
    else:
        proof = prove(planner, family, options.limits, requests=requests, seed=seed)
    golden = _golden(planner, family, options.limits, seed + 1)
    files = {MODEL_FILE: serialised, GOLDEN_FILE: golden}
    manifest = _manifest(family, options, graph, files, proof)
    files[MANIFEST_FILE] = (json.dumps(manifest.to_json(), indent=1, ensure_ascii=False) + "\n").encode()
    _publish(target, files)
    return target, proof


def _manifest(
    family: ModelFamily, options: BundleOptions, graph: Graph, files: Mapping[str, bytes], proof: Proof | ValueProof
) -> Manifest:
    return Manifest(
        name=options.name,
        version=options.version,
        family=family.name,
        spec=family.spec,
        limits=options.limits,
        queues=options.queues,
        partition=options.partition,
        objectives=options.objectives,
        units=family.units,
        diversity=options.diversity,
        fallback=options.fallback,
        inputs=graph.inputs,
        outputs=graph.outputs,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        provenance={
            **{key: value for key, value in family.checkpoint.provenance.items() if key != VERDICT},
            "model": family.sizes,
            "graph": {"opset": OPSET, "nodes": graph.size, "onnx": onnx.__version__},
            "proof": proof.to_json(),
            **({"precision": options.precision, "golden": proof.golden} if isinstance(proof, ValueProof) else {}),
        },
        shares=family.shares,
        valued=family.valued,
        verdict=family.verdict,
    )


def _golden(planner: GraphPlanner, family: ModelFamily, limits: Limits, seed: int) -> bytes:
    """Make `golden.npz`: ``input.*``, ``output.*``, the reference's ``output.margin`` [G, L] (infinite: no rival)."""
    # Every start of the service replays them, so they are small where their size is free.
    small = dataclasses.replace(limits, queue_length=min(limits.queue_length, _GOLDEN_RANKS * limits.list_length))
    requests = list(random_requests(family.spec, small, GOLDEN_REQUESTS, seed, any_slots=family.any_slots))
    reference = family.reference(limits)
    margins = np.stack([reference(request).margins(limits.list_length) for request in requests]).astype(np.float32)
    batch = stack(requests)
    inputs = {name: batch[name] for name in planner.inputs}
    outputs = planner(inputs)
    arrays: dict[str, Any] = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()} | {"output.margin": margins}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _publish(target: Path, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        Manifest.read(partial)
        partial.chmod(0o755)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
