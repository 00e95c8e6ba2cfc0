"""A bundle whose graph follows the contract of `models/contract/manifest.py` but is simple enough to predict.

It takes slots rank by rank, queue by queue, until L are taken. Every item is worth 0.1 clicks, 0.02 purchases and 0.02
times its price; every item after the first is charged (1 − λ) / 2.

With `Options.knows_sort` it is also given the sort's list, and returns that if the prior logit of a click on its first
item is above that on the plan's. With `Options.groups` it also has a graph for requests with rules (`tiny_ruled.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.contract import manifest as m
from models.contract.rules.tensors import RULE_INPUTS
from models.contract.spec import Category, FeatureSpec, Hashed, Number
from models.contract.tensor_specs import RuledGraph, TensorSpec
from models.contract.verdict import Verdict
from tests.service.tiny_ruled import example_rules, rule_inputs, ruled_charges, ruled_constants, ruled_plan

CLICKS, PURCHASES = 0.1, 0.02
Arrays = dict[str, NDArray[Any]]

SPEC = FeatureSpec(
    user=(Category("age", ("18-24", "25-34", "35+")), Number("visits", mean=3.0, std=2.0, transform="log1p")),
    context=(Number("hour", mean=12.0, std=6.0),),
    item=(Category("category", ("shoes", "hats")), Hashed("brand", 64), Number("stars", mean=3.0)),
    scores=(
        Number("ctr", mean=-3.0, default=0.05, transform="logit"),
        Number("cvr", mean=-4.0, default=0.02, transform="logit"),
        Number("relevance"),
    ),
    price=Number("price", mean=3.0, default=20.0, transform="log1p"),
)
SHAPES: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "user_ids": ("int64", ("batch", 1)),
    "user_numbers": ("float32", ("batch", 2)),
    "item_ids": ("int64", ("batch", "N", 2)),
    "item_numbers": ("float32", ("batch", "N", 2)),
    "item_scores": ("float32", ("batch", "N", 3)),
    "price": ("float32", ("batch", "N")),
    "embeddings": ("float32", ("batch", "N", "width")),
    "valid": ("bool", ("batch", "N")),
    "objective_weights": ("float32", ("batch", 3)),
    "trade_off": ("float32", ("batch",)),
    "window": ("int64", ("batch",)),
}
SORT_SHAPES: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "priors": ("float32", ("batch", "N", 2)),
    m.SORT_SLOTS: ("int64", ("batch", "L")),
}
LIMITS = m.Limits(list_length=5, queues=3)
DTYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "bool": TensorProto.BOOL}


@dataclass(frozen=True)
class Options:
    """What tests vary."""

    name: str = "tiny"
    version: str = "1"
    limits: m.Limits = LIMITS
    spec: FeatureSpec = SPEC
    fallback: str = "alpha*ctr + beta*ctr*cvr + gamma*ctr*cvr*price"
    change: Callable[[m.Manifest], m.Manifest] = lambda manifest: manifest
    fingerprint: str | None = None
    knows_sort: bool = False
    groups: int = 0


def write_bundle(root: Path, options: Options | None = None) -> Path:
    """Write ``root/name/version`` and return it."""
    o = options or Options()
    folder = root / o.name / o.version
    folder.mkdir(parents=True)
    manifest = make_manifest(o)
    fingerprint = o.fingerprint or o.spec.fingerprint
    onnx.save(make_graph(manifest, fingerprint), folder / m.MODEL_FILE)
    save_golden(folder, golden_arrays(folder / m.MODEL_FILE, manifest))
    if manifest.ruled is not None:
        onnx.save(make_graph(manifest, fingerprint, manifest.ruled), folder / m.RULED_FILE)
        arrays = golden_arrays(folder / m.RULED_FILE, manifest, manifest.ruled)
        save_golden(folder, arrays, m.RULED_GOLDEN_FILE)
    write_manifest(folder, o.change(with_checksums(folder, manifest)))
    return folder


def save_golden(folder: Path, arrays: Arrays, name: str = m.GOLDEN_FILE) -> None:
    np.savez(folder / name, allow_pickle=False, **arrays)


def write_manifest(folder: Path, manifest: m.Manifest) -> None:
    (folder / m.MANIFEST_FILE).write_text(json.dumps(manifest.to_json(), indent=1), "utf-8")


def with_checksums(folder: Path, manifest: m.Manifest) -> m.Manifest:
    """The manifest with the checksums of the files as they are now."""
    names = (m.MODEL_FILE, m.GOLDEN_FILE) + ((m.RULED_FILE, m.RULED_GOLDEN_FILE) if manifest.ruled else ())
    return replace(manifest, files={n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names})


def make_manifest(o: Options) -> m.Manifest:
    length, slots = o.limits.list_length, o.limits.slots
    outputs = {
        "order": ("int64", ("batch", length)),
        "value": ("float32", ("batch", length, 3)),
        "penalty": ("float32", ("batch", length)),
        "score": ("float32", ("batch", length)),
        "runner_up": ("int64", ("batch", length)),
        **({m.KEPT_SORT: ("bool", ("batch",))} if o.knows_sort else {}),
    }
    sizes = {"N": slots, "L": length}

    def tensors(table: dict[str, Any]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, dtype, tuple(sizes.get(str(size), size) for size in shape))
            for name, (dtype, shape) in table.items()
        )

    inputs = tensors(SHAPES | (SORT_SHAPES if o.knows_sort else {}))
    ruled = RuledGraph(o.groups, inputs + rule_inputs(length, slots, o.groups), tensors(outputs))
    return m.Manifest(
        name=o.name,
        version=o.version,
        family="sort-gen",
        spec=o.spec,
        limits=o.limits,
        queues=(
            m.QueueSpec("click", "ctr"),
            m.QueueSpec("conversion", "ctr*cvr"),
            m.QueueSpec("gmv", "ctr*cvr*price"),
        )[: o.limits.queues],
        partition="bfs",
        objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
        units={"click": 0.05, "conversion": 0.001, "gmv": 0.5},
        diversity=m.DiversityDefaults(trade_off=0.8, window=4),
        fallback=o.fallback,
        inputs=inputs,
        outputs=tensors(outputs),
        ruled=ruled if o.groups else None,
        provenance={"data": "none", "purpose": "tests"},
        verdict=Verdict("same", "Its lists are worth as much as those of the sort."),
    )


def make_graph(manifest: m.Manifest, fingerprint: str, sides: m.Manifest | RuledGraph | None = None) -> onnx.ModelProto:
    """The plain graph, or with `sides` of a `RuledGraph` the one for rules."""
    sides = sides or manifest
    ruled = isinstance(sides, RuledGraph)
    length, queues, slots = manifest.limits.list_length, manifest.limits.queues, manifest.limits.slots
    slot = np.arange(slots)
    turn = (slot % length) * queues + slot // length
    constants: Arrays = {
        "priority": (slots - turn).astype(np.int64)[None],
        "zero": np.array(0, np.int64),
        "none": np.array(-1, np.int64),
        "length": np.array([length], np.int64),
        "second": np.array([1], np.int64),
        "end": np.array([length], np.int64),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "pad": np.array([0, 0, 0, 1], np.int64),
        "counts": np.array([[[CLICKS, PURCHASES]]], np.float32),
        "purchases": np.array([[[PURCHASES]]], np.float32),
        "units": np.array([list(manifest.units.values())], np.float32),
        "one": np.array(1, np.float32),
        "half": np.array([0] + [0.5] * (length - 1), np.float32)[None],
    }
    node = helper.make_node
    knows_sort = any(t.name == m.SORT_SLOTS for t in manifest.inputs)
    if knows_sort:
        constants["first"] = np.array([0], np.int64)
    if ruled:
        constants |= ruled_constants(length, slots)
    nodes = [
        node("Cast", ["valid"], ["valid_i"], to=TensorProto.INT64),
        node("Mul", ["valid_i", "priority"], ["key"]),
        *(ruled_plan(length) if ruled else _plan()),
        *(_choose_list() if knows_sort else _keep_plan()),
        node("Less", ["none", "order"], ["there"]),
        node("Max", ["order", "zero"], ["places"]),
        node("Cast", ["there"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "axis2"], ["mask3"]),
        node("Mul", ["mask3", "counts"], ["delta"]),
        node("GatherElements", ["price", "places"], ["prices"], axis=1),
        node("Unsqueeze", ["prices", "axis2"], ["prices3"]),
        node("Mul", ["prices3", "purchases"], ["gmv_all"]),
        node("Mul", ["gmv_all", "mask3"], ["gmv"]),
        node("Concat", ["delta", "gmv"], ["value"], axis=2),
        node("Div", ["objective_weights", "units"], ["weighted"]),
        node("Unsqueeze", ["weighted", "axis1"], ["weighted3"]),
        node("Mul", ["value", "weighted3"], ["parts"]),
        node("ReduceSum", ["parts", "axis2"], ["step_sum"], keepdims=0),
        node("ReduceSum", ["objective_weights", "axis1"], ["weight_sum"], keepdims=1),
        node("Div", ["step_sum", "weight_sum"], ["step"]),
        node("Unsqueeze", ["trade_off", "axis1"], ["lam"]),
        node("Sub", ["one", "lam"], ["rest"]),
        *(ruled_charges() if ruled else []),
        node("Mul", ["rest", "share" if ruled else "half"], ["charge"]),
        node("Mul", ["charge", "mask"], ["penalty"]),
        node("Mul", ["lam", "worth" if ruled else "step"], ["gain"]),
        node("Sub", ["gain", "penalty"], ["score"]),
    ]
    used = {name for made in nodes for name in made.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(t.name, DTYPES[t.dtype], list(t.shape)) for t in sides.inputs],
        [helper.make_tensor_value_info(t.name, DTYPES[t.dtype], list(t.shape)) for t in sides.outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {m.FINGERPRINT_KEY: fingerprint})
    onnx.checker.check_model(model)
    return model


def _plan() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("TopK", ["key", "length"], ["best", "top"], axis=1),
        node("Greater", ["best", "zero"], ["filled"]),
        node("Where", ["filled", "top", "none"], ["plan"]),
        node("Slice", ["plan", "second", "end", "axis1"], ["shifted"]),
        node("Pad", ["shifted", "pad", "none"], ["second_best"]),
    ]


def _keep_plan() -> list[onnx.NodeProto]:
    rename = [("plan", "order"), ("second_best", "runner_up")]
    return [helper.make_node("Identity", [old], [new]) for old, new in rename]


def _choose_list() -> list[onnx.NodeProto]:
    """The sort's list instead of the plan where a click on its first item was thought likelier."""
    node = helper.make_node
    slots = [("plan", "plan"), (m.SORT_SLOTS, "sort")]
    return [
        node("Slice", ["priors", "first", "second", "axis2"], ["click3"]),
        node("Squeeze", ["click3", "axis2"], ["click"]),
        *(node("Slice", [value, "first", "second", "axis1"], [f"{name}_head"]) for value, name in slots),
        *(node("Max", [f"{name}_head", "zero"], [f"{name}_place"]) for _, name in slots),
        *(node("GatherElements", ["click", f"{n}_place"], [f"{n}_prior"], axis=1) for _, n in slots),
        node("Less", ["plan_prior", "sort_prior"], ["better"]),
        node("Less", ["none", "sort_head"], ["given"]),
        node("And", ["better", "given"], ["kept"]),
        node("Squeeze", ["kept", "axis1"], [m.KEPT_SORT]),
        node("Where", ["kept", m.SORT_SLOTS, "plan"], ["order"]),
        node("Where", ["kept", "none", "second_best"], ["runner_up"]),
    ]


def golden_arrays(model: Path, manifest: m.Manifest, ruled: RuledGraph | None = None) -> Arrays:
    """Four random requests, with rules for a `ruled` graph, and the graph's own answers."""
    rng = np.random.default_rng(0)
    inputs: Arrays = {}
    for tensor in manifest.inputs:
        shape = [4 if size == "batch" else 2 if isinstance(size, str) else size for size in tensor.shape]
        inputs[tensor.name] = (rng.random(shape) * 2).astype(tensor.dtype)
    inputs["trade_off"] = inputs["trade_off"] / 2
    if m.SORT_SLOTS in inputs:  # Of two requests the sort's list is worth less, of two it is worth more.
        inputs[m.SORT_SLOTS] = np.tile(np.arange(manifest.limits.list_length)[::-1], (4, 1)).astype(np.int64)
        inputs["valid"][:] = True
        inputs["priors"][:, :, 0] = np.linspace(-1, 1, manifest.limits.slots) * np.array([[1], [-1], [1], [-1]])
    if ruled is not None:
        inputs |= example_rules(manifest.limits.list_length, manifest.limits.slots, ruled.groups, rows=4)
        for name in RULE_INPUTS:
            inputs[name][0] = 0  # The first has no rules.
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in manifest.outputs]
    found = dict(zip(names, session.run(names, inputs), strict=True))
    return {f"input.{k}": v for k, v in inputs.items()} | {f"output.{k}": v for k, v in found.items()}
