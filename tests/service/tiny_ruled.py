"""The tiny bundle's graph for requests with rules: one step after the other, each by the five tensors of rules.

A slot is barred as `models/contract/rules/tensors.py` says. Of the others the tiny graph's next one is taken, ranked by
its priority times the boost, times 1 less half of (1 − λ) per cosine to the shown items. The boost also multiplies what
an item is worth in `score`, and the cosine may raise its charge. With zeros in all five it is the plain graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from models.contract.rules.tensors import LIFTS, MEMBERS, ROOM, SEEN, STEP_BARS, room_rows
from models.contract.tensor_specs import TensorSpec

Arrays = dict[str, NDArray[Any]]
_node = helper.make_node


def rule_inputs(length: int, slots: int, groups: int) -> tuple[TensorSpec, ...]:
    """Describe the inputs that a ruled graph has beside the plain one's."""
    shapes = {
        STEP_BARS: (length, slots),
        MEMBERS: (slots, groups),
        ROOM: (room_rows(length), groups),
        LIFTS: (slots,),
        SEEN: (length, slots),
    }
    return tuple(TensorSpec(name, "float32", ("batch", *shape)) for name, shape in shapes.items())


def neutral_rules(length: int, slots: int, groups: int, *, rows: int = 1) -> Arrays:
    """Tensors without any rule."""
    return {t.name: np.zeros((rows, *t.shape[1:]), np.float32) for t in rule_inputs(length, slots, groups)}  # type: ignore[arg-type]


def example_rules(length: int, slots: int, groups: int, *, rows: int = 1) -> Arrays:
    """Pin the last slot to the second place; of the even slots at most one in two; boost and shown for some."""
    rules = neutral_rules(length, slots, groups, rows=rows)
    pinned, place = slots - 1, min(1, length - 1)
    bars = rules[STEP_BARS]
    bars[:, :, pinned] = 1
    bars[:, place] = 1
    bars[:, place, pinned] = 0
    rules[MEMBERS][:, ::2, 0] = 1
    for step in range(1, length):  # Look-back 1 is the window of two; a longer one never fills.
        first = step * (step - 1) // 2
        rules[ROOM][:, first : first + step, 0] = length
        rules[ROOM][:, first, 0] = length if step == place else 1
    rules[LIFTS][:, 1] = 2.0
    rules[SEEN][:, 0, 2:4] = 2.5
    return rules


def ruled_plan(length: int) -> list[NodeProto]:
    """Make ``plan`` and ``second_best`` [B, L] from ``key`` [B, N]."""
    nodes = [
        _node("Cast", ["key"], ["key_f"], to=TensorProto.FLOAT),
        _node("Add", [LIFTS, "one"], ["boost"]),
        _node("Mul", ["key_f", "boost"], ["rank"]),
        _node("Unsqueeze", ["trade_off", "axis1"], ["lam_first"]),
        _node("Sub", ["one", "lam_first"], ["rest_first"]),
        _node("Mul", ["rest_first", "half_one"], ["rest_half"]),
        _node("Mul", ["rank", "zero_f"], ["taken_0"]),
        _node("ReduceMax", ["taken_0"], ["ended_0"], axes=[1], keepdims=1),
    ]
    for t in range(length):
        nodes += _step(t)
    for name, parts in (("plan", "pick"), ("second_best_all", "second")):
        nodes.append(_node("Concat", [f"{parts}_{t}" for t in range(length)], [name], axis=1))
    # The plain graph knows nothing behind its last step either.
    nodes += [
        _node("Slice", ["second_best_all", "first", "before_end", "axis1"], ["second_cut"]),
        _node("Pad", ["second_cut", "pad", "none"], ["second_best"]),
    ]
    return nodes


def _step(t: int) -> list[NodeProto]:
    """Take the best slot that is not barred, or end the list."""
    return [
        *_bars(t),
        # Rank those that are free.
        _node("Less", [f"barred_{t}", "half_one"], [f"is_free_{t}"]),
        _node("Cast", [f"is_free_{t}"], [f"free_{t}"], to=TensorProto.FLOAT),
        _node("Gather", [SEEN, f"step_{t}"], [f"seen_{t}"], axis=1),
        _node("Sub", [f"seen_{t}", "two"], [f"cosine_all_{t}"]),
        _node("Relu", [f"cosine_all_{t}"], [f"cosine_{t}"]),
        _node("Mul", [f"cosine_{t}", "rest_half"], [f"alike_{t}"]),
        _node("Sub", ["one", f"alike_{t}"], [f"unlike_{t}"]),
        _node("Mul", ["rank", f"unlike_{t}"], [f"ranked_{t}"]),
        _node("Mul", [f"ranked_{t}", f"free_{t}"], [f"open_{t}"]),
        # Take the best two of them; a rank of 0 is none.
        _node("TopK", [f"open_{t}", "two_slots"], [f"ranks_{t}", f"tops_{t}"], axis=1),
        _node("Greater", [f"ranks_{t}", "zero_f"], [f"are_{t}"]),
        _node("Where", [f"are_{t}", f"tops_{t}", "none"], [f"told_{t}"]),
        _node("Split", [f"told_{t}"], [f"pick_{t}", f"second_{t}"], axis=1),
        # Note what was taken; once a list has ended, every slot counts as taken.
        _node("Equal", ["slots", f"pick_{t}"], [f"is_pick_{t}"]),
        _node("Cast", [f"is_pick_{t}"], [f"picked_{t}"], to=TensorProto.FLOAT),
        _node("Equal", [f"pick_{t}", "none"], [f"is_end_{t}"]),
        _node("Cast", [f"is_end_{t}"], [f"end_{t}"], to=TensorProto.FLOAT),
        _node("Max", [f"ended_{t}", f"end_{t}"], [f"ended_{t + 1}"]),
        _node("Add", [f"taken_{t}", f"picked_{t}"], [f"taken_only_{t}"]),
        _node("Max", [f"taken_only_{t}", f"ended_{t + 1}"], [f"taken_{t + 1}"]),
        _node("Unsqueeze", [f"picked_{t}", "axis1"], [f"picked3_{t}"]),
        _node("MatMul", [f"picked3_{t}", MEMBERS], [f"groups_{t}"]),
    ]


def _bars(t: int) -> list[NodeProto]:
    """Make ``barred_t`` [B, N], above 0.5 where a slot may not stand at step t."""
    known = [
        _node("Gather", [STEP_BARS, f"step_{t}"], [f"bars_{t}"], axis=1),
        _node("Add", [f"bars_{t}", f"taken_{t}"], [f"barred_{t}" if t == 0 else f"barred_before_{t}"]),
    ]
    if t == 0:
        return known
    return [
        *known,
        # What the last 1 … t picks hold of every group.
        _node("Concat", [f"groups_{s}" for s in range(t)], [f"history_{t}"], axis=1),
        _node("MatMul", [f"backs_{t}", f"history_{t}"], [f"held_{t}"]),
        _node("Slice", [ROOM, f"room_first_{t}", f"room_end_{t}", "axis1"], [f"room_{t}"]),
        _node("Sub", [f"held_{t}", f"room_{t}"], [f"excess_{t}"]),
        _node("Add", [f"excess_{t}", "one"], [f"over_{t}"]),
        _node("Relu", [f"over_{t}"], [f"over_only_{t}"]),
        _node("ReduceMax", [f"over_only_{t}"], [f"fullest_{t}"], axes=[1], keepdims=0),
        _node("Unsqueeze", [f"fullest_{t}", "axis2"], [f"fullest3_{t}"]),
        _node("MatMul", [MEMBERS, f"fullest3_{t}"], [f"full3_{t}"]),
        _node("Squeeze", [f"full3_{t}", "axis2"], [f"full_{t}"]),
        _node("Add", [f"barred_before_{t}", f"full_{t}"], [f"barred_{t}"]),
    ]


def ruled_charges() -> list[NodeProto]:
    """Charge at least what a cosine to the shown items says, and boost what an item is worth."""
    return [
        _node("Unsqueeze", ["places", "axis2"], ["places3"]),
        _node("GatherElements", [SEEN, "places3"], ["seen3"], axis=2),
        _node("Squeeze", ["seen3", "axis2"], ["seen_chosen"]),
        _node("Sub", ["seen_chosen", "two"], ["cosine_chosen"]),
        _node("Max", ["half", "cosine_chosen"], ["share"]),
        _node("GatherElements", ["boost", "places"], ["boost_chosen"], axis=1),
        _node("Mul", ["step", "boost_chosen"], ["worth"]),
    ]


def ruled_constants(length: int, slots: int) -> Arrays:
    """Constants of the nodes above."""
    constants: Arrays = {
        "slots": np.arange(slots, dtype=np.int64)[None],
        "first": np.array([0], np.int64),
        "before_end": np.array([length - 1], np.int64),
        "two_slots": np.array([2], np.int64),
        "zero_f": np.array(0, np.float32),
        "half_one": np.array(0.5, np.float32),
        "two": np.array(2, np.float32),
    }
    for t in range(length):
        constants[f"step_{t}"] = np.array(t, np.int64)
        if t:
            constants[f"backs_{t}"] = np.tri(t, dtype=np.float32)[:, ::-1].copy()
            constants[f"room_first_{t}"] = np.array([room_rows(t)], np.int64)
            constants[f"room_end_{t}"] = np.array([room_rows(t + 1)], np.int64)
    return constants
