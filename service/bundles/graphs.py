"""Check a bundle's graphs against its manifest, and against what this service makes and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.contract.manifest import KEPT_SORT, MODEL_FILE, RULED_FILE, SORT_SLOTS, Manifest
from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, room_rows
from models.contract.tensor_specs import RuledGraph, TensorSpec
from service.bundles.model import BundleError
from service.inference.onnx.session import GraphFacts

_ITEMS: Final = ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings", "valid", SORT_SLOTS)
_INPUTS: Final = frozenset(("user_ids", "user_numbers", *_ITEMS, "objective_weights", "trade_off", "window"))
_OUTPUTS: Final = frozenset(("order", "value", "penalty", "score", "runner_up"))


def check_graph(manifest: Manifest, graph: GraphFacts) -> None:
    """Compare the plain graph with the manifest and the service's inputs. Raises `BundleError`."""
    _check_facts(manifest, manifest, graph, MODEL_FILE)
    names = {t.name for t in graph.inputs}
    if unknown := sorted(names - _INPUTS):
        raise _fault(f"asks for the input {unknown[0]!r}, which this service does not make")
    if missing := sorted(_OUTPUTS - {t.name for t in graph.outputs}):
        raise _fault(f"has no output {missing[0]!r}")
    _check_sort(manifest, graph)


def check_ruled_graph(manifest: Manifest, ruled: RuledGraph, graph: GraphFacts) -> None:
    """Compare the graph for rules with the manifest and the plain graph. Raises `BundleError`.

    It must have the plain graph's inputs and the tensors of rules, and the plain graph's outputs.
    """
    _check_facts(manifest, ruled, graph, RULED_FILE)
    rules = {t.name: t for t in _rule_inputs(manifest, ruled)}
    _check_described("input", {**{t.name: t for t in manifest.inputs}, **rules}, ruled.inputs)
    _check_described("output", {t.name: t for t in manifest.outputs}, ruled.outputs)


def _rule_inputs(manifest: Manifest, ruled: RuledGraph) -> list[TensorSpec]:
    """Describe the tensors of rules that this service makes for the model. Raises `BundleError`."""
    valid = next((t.shape for t in manifest.inputs if t.name == "valid"), ())
    if len(valid) != 2:
        raise _fault(f"input 'valid' must have two axes, not {list(valid)}")
    batch, slots = valid
    length, groups = manifest.limits.list_length, ruled.groups
    shapes: dict[str, tuple[int | str, ...]] = {
        STEP_BARS: (length, slots),
        MEMBERS: (slots, groups),
        ROOM: (room_rows(length), groups),
        LIFTS: (slots,),
        SEEN: (length, slots),
    }
    return [TensorSpec(name, "float32", (batch, *shape)) for name, shape in shapes.items()]


def _check_described(kind: str, expected: Mapping[str, TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Compare the ruled graph's description with what it must be. Raises `BundleError`."""
    described = {t.name: t for t in found}
    for name in sorted(expected.keys() ^ described.keys()):
        problem = f"has no {kind} {name!r}" if name in expected else f"has an {kind} {name!r}, which it may not have"
        raise _fault(problem, RULED_FILE)
    for name, tensor in expected.items():
        own = described[name]
        if (own.dtype, own.shape) != (tensor.dtype, tensor.shape):
            problem = f"{own.dtype} {list(own.shape)}, but must be {tensor.dtype} {list(tensor.shape)}"
            raise _fault(f"{kind} {name!r} is {problem}", RULED_FILE)


def _check_facts(manifest: Manifest, sides: Manifest | RuledGraph, graph: GraphFacts, file: str) -> None:
    """Compare the feature spec, the inputs and the outputs. Raises `BundleError`."""
    if graph.fingerprint != manifest.spec.fingerprint:
        own = manifest.spec.fingerprint
        raise _fault(f"was exported for the feature spec {graph.fingerprint!r}, but the manifest has {own!r}", file)
    _check_tensors("input", sides.inputs, graph.inputs, file)
    _check_tensors("output", sides.outputs, graph.outputs, file)


def _check_sort(manifest: Manifest, graph: GraphFacts) -> None:
    """Check that the graph takes the sort's list and reports it, or does neither."""
    takes = next((t for t in graph.inputs if t.name == SORT_SLOTS), None)
    says = next((t for t in graph.outputs if t.name == KEPT_SORT), None)
    if (takes is None) != (says is None):
        there, lacking = (f"input {SORT_SLOTS!r}", KEPT_SORT) if says is None else (f"output {KEPT_SORT!r}", SORT_SLOTS)
        raise _fault(f"has the {there} without {lacking!r}")
    if takes is None or says is None:
        return
    length = manifest.limits.list_length
    if takes.dtype != "int64" or len(takes.shape) != 2 or takes.shape[1] != length:
        found = f"{takes.dtype} {list(takes.shape)}"
        raise _fault(f"input {SORT_SLOTS!r} must be int64 with {length} slots a row, not {found}")
    if says.dtype != "bool" or len(says.shape) != 1:
        raise _fault(f"output {KEPT_SORT!r} must be one bool a row, not {says.dtype} {list(says.shape)}")


def _check_tensors(kind: str, expected: Sequence[TensorSpec], found: Sequence[TensorSpec], file: str) -> None:
    """Compare names, element types and shapes. Raises `BundleError`."""
    graph = {t.name: t for t in found}
    names = {t.name for t in expected}
    for name in sorted(names ^ graph.keys()):
        holder, other = ("manifest", "graph") if name in names else ("graph", "manifest")
        raise _fault(f"the {holder} has an {kind} {name!r}, the {other} has not", file)
    for tensor in expected:
        own, where = graph[tensor.name], f"{kind} {tensor.name!r}"
        if tensor.dtype != own.dtype:
            raise _fault(f"{where} is {own.dtype}, but the manifest says {tensor.dtype}", file)
        if not same_shape(tensor.shape, own.shape):
            raise _fault(f"{where} has shape {list(own.shape)}, but the manifest says {list(tensor.shape)}", file)


def same_shape(a: Sequence[int | str], b: Sequence[int | str]) -> bool:
    """Tell whether ranks are equal, and sizes wherever both are numbers."""
    return len(a) == len(b) and all(
        x == y or isinstance(x, str) or isinstance(y, str) for x, y in zip(a, b, strict=True)
    )


def _fault(problem: str, file: str = MODEL_FILE) -> BundleError:
    return BundleError(f"{file}: {problem}")
