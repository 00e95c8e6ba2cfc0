"""Write a bundle: ``<root>/<name>/<version>/{model.onnx, bundle.json, golden.npz}``.

Beside them are ``ruled.onnx`` and ``golden_ruled.npz``, for requests with rules, unless the options leave them out.

The folder appears under its name only when everything in it has been written, loaded again and proved; a proof that
fails leaves nothing behind. The service has its own, independent checks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from export.families.family import VERDICT, ModelFamily
from export.proof.precision import Precision
from export.proof.proved import Demands, ProvedGraph, prove_graph
from export.proof.verify import Proof
from export.proof.verify_value import ValueProof
from models.contract import manifest
from models.contract.formulas import FormulaError, compile_formula
from models.contract.manifest import DiversityDefaults, Limits, Manifest, Partition, QueueSpec
from models.contract.rules.tensors import GROUPS
from models.contract.tensor_specs import RuledGraph
from models.contract.versions import FOLDER_NAME, FOLDER_NAME_RULE
from models.planners.graphs.graph import OPSET


class ExportError(ValueError):
    """Report a bundle that cannot be written; the message says why."""


@dataclass(frozen=True)
class BundleOptions:
    """Hold all that a bundle has beside its model.

    A request may override queues, objectives, diversity and partition. `most_lost` is how many percent of list value a
    reduced `precision` may lose; `accept_worse` lets a model through that is worse than the sort; without `rules` there
    is no graph for requests that have some.
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
    rules: bool = True

    def __post_init__(self) -> None:
        for key in ("name", "version"):
            if not FOLDER_NAME.fullmatch(getattr(self, key)):
                raise ExportError(f"{key}: must be {FOLDER_NAME_RULE}, not {getattr(self, key)!r}")
        if not 1 <= len(self.queues) <= self.limits.queues:
            raise ExportError(f"queues: must be 1 to {self.limits.queues} queues, not {len(self.queues)}")
        named = [(f"queue {queue.name!r}", queue.score) for queue in self.queues]
        for what, formula in (*named, ("fallback", self.fallback)):
            try:
                compile_formula(formula)
            except FormulaError as error:
                raise ExportError(f"{what}: {formula!r} {error}") from None


@dataclass(frozen=True, slots=True)
class WrittenBundle:
    """Hold a bundle's folder, and the proofs of its graphs.

    `ruled` is None without a graph for rules.
    """

    folder: Path
    proof: Proof | ValueProof
    ruled: Proof | ValueProof | None


def write_bundle(
    root: Path, family: ModelFamily, options: BundleOptions, *, requests: int = 1000, seed: int = 0
) -> WrittenBundle:
    """Build, prove and publish a bundle.

    The graph for rules is proved on half as many requests as the plain one, so that it adds about half to the time of
    the proof, which is the references': it is the same model, and what it adds is in most of those requests.

    Raises `ExportError` if the version exists already or the model is worse than the sort, `ProofError` if a proof
    fails, `ValueError` if the limits do not fit the model or its verdict is broken.
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
    demands = Demands(options.precision, options.most_lost, requests, seed)
    plain = prove_graph(family, options.limits, demands)
    files = {manifest.MODEL_FILE: plain.model, manifest.GOLDEN_FILE: plain.golden}
    ruled = None
    if options.rules:
        halved = dataclasses.replace(demands, requests=math.ceil(requests / 2), groups=GROUPS)
        ruled = prove_graph(family, options.limits, halved)
        files |= {manifest.RULED_FILE: ruled.model, manifest.RULED_GOLDEN_FILE: ruled.golden}
    described = _manifest(family, options, files, plain, ruled).to_json()
    files[manifest.MANIFEST_FILE] = (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode()
    _publish(target, files)
    return WrittenBundle(target, plain.proof, None if ruled is None else ruled.proof)


def _manifest(
    family: ModelFamily,
    options: BundleOptions,
    files: Mapping[str, bytes],
    plain: ProvedGraph,
    ruled: ProvedGraph | None,
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
        inputs=plain.graph.inputs,
        outputs=plain.graph.outputs,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        provenance={
            **{key: value for key, value in family.checkpoint.provenance.items() if key != VERDICT},
            "model": family.sizes,
            **_proofs(options, plain, ruled),
        },
        shares=family.shares,
        valued=family.valued,
        verdict=family.verdict,
        ruled=None if ruled is None else RuledGraph(GROUPS, ruled.graph.inputs, ruled.graph.outputs),
    )


def _proofs(options: BundleOptions, plain: ProvedGraph, ruled: ProvedGraph | None) -> dict[str, Any]:
    """Describe the graphs and their proofs.

    In reduced precision, recorded answers of both graphs are replayed within the looser tolerance.
    """
    graph = {"opset": OPSET, "nodes": plain.graph.size, "onnx": onnx.__version__}
    told: dict[str, Any] = {"graph": graph, "proof": plain.proof.to_json()}
    proofs = [plain.proof]
    if ruled is not None:
        graph["ruled_nodes"] = ruled.graph.size
        told["ruled_proof"] = ruled.proof.to_json()
        proofs.append(ruled.proof)
    tolerances = [proof.golden for proof in proofs if isinstance(proof, ValueProof)]
    if tolerances:
        loosest = {name: max(tolerance[name] for tolerance in tolerances) for name in tolerances[0]}
        told |= {"precision": options.precision, "golden": loosest}
    return told


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
