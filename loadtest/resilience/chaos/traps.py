"""Make bundles that crash, hang or answer nonsense, from the embedded one.

Their checksums are right, and those with a trigger replay their recorded requests as they should: the trap is in the
graph. A trigger is a value of the request's `diversity.lambda`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from loadtest.resilience.chaos.scenario import Skipped
from models.contract.manifest import DEMO_BUNDLE, MANIFEST_FILE, MODEL_FILE
from models.files import write_json

if TYPE_CHECKING:
    import onnx

TRIGGERS: Final = {"score": 0.121, "penalty": 0.122, "value": 0.123, "runner_up": 0.124, "order": 0.125}
"""Output to the trigger that spoils it, in a bundle of `nonsense`."""

HANG: Final = 0.126
_NEAR: Final = 1e-5
_FOR_EVER: Final = 2**62
_OUT_OF_RANGE: Final = 1_000_000


def copy_as(folder: Path, name: str, version: str) -> Path:
    """Copy the embedded bundle under another name and version; return the copy."""
    copy = folder / name / version
    shutil.copytree(DEMO_BUNDLE, copy)
    _edit_manifest(copy, name=name, version=version)
    return copy


def garbage(bundle: Path) -> None:
    """Replace the model by bytes that are none, with the right checksum."""
    _replace_model(bundle, b"\x08\x07garbage" * 500)


def truncated(bundle: Path) -> None:
    """Cut the model in half and leave the checksum, as half an upload."""
    path = bundle / MODEL_FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def crashing(bundle: Path) -> None:
    """Make ONNX Runtime crash at load: dividing the least integer by −1 does."""

    def edit(model: onnx.ModelProto, make: Any) -> None:
        _constant(model, "trap_least", np.array([-(2**63)], np.int64))
        _constant(model, "trap_minus_one", np.array([-1], np.int64))
        model.graph.node.append(make("Div", ["trap_least", "trap_minus_one"], ["trap_quotient"]))
        _rename_output(model, "runner_up")
        model.graph.node.append(make("Min", ["runner_up_plain", "trap_quotient"], ["runner_up"]))

    _edit_model(bundle, edit)


def hanging(bundle: Path, *, always: bool = False) -> None:
    """Make a run take for ever: at the trigger `HANG`, or every run."""

    def edit(model: onnx.ModelProto, make: Any) -> None:
        _constant(model, "trap_long", np.array(_FOR_EVER, np.int64))
        _constant(model, "trap_true", np.array(True))
        _constant(model, "trap_zero", np.array([0.0], np.float32))
        trips = "trap_long" if always else _trips_at(model, make, HANG)
        nodes = model.graph.node
        nodes.append(make("Loop", [trips, "trap_true", "trap_zero"], ["trap_nothing"], body=_idle_body()))
        _rename_output(model, "score")
        nodes.append(make("Add", ["score_plain", "trap_nothing"], ["score"]))

    _edit_model(bundle, edit)


def nonsense(bundle: Path) -> None:
    """Spoil one output at each of the `TRIGGERS`: NaN, or an impossible slot."""

    def edit(model: onnx.ModelProto, make: Any) -> None:
        ranks = {output.name: len(output.type.tensor_type.shape.dim) for output in model.graph.output}
        for output, at in TRIGGERS.items():
            whole = output in ("runner_up", "order")
            _constant(model, f"trap_{output}", np.array(_OUT_OF_RANGE, np.int64) if whole else np.float32(np.nan))
            _trigger(model, make, output, at)
            _constant(model, f"trap_{output}_axes", np.arange(1, ranks[output], dtype=np.int64))
            nodes = model.graph.node
            nodes.append(make("Unsqueeze", [f"trap_{output}_at", f"trap_{output}_axes"], [f"trap_{output}_rows"]))
            _rename_output(model, output)
            nodes.append(make("Where", [f"trap_{output}_rows", f"trap_{output}", f"{output}_plain"], [output]))

    _edit_model(bundle, edit)


def _trigger(model: onnx.ModelProto, make: Any, name: str, at: float) -> None:
    """Add nodes that tell, row by row, whether the request's λ is `at`."""
    _constant(model, f"trap_{name}_lambda", np.float32(at))
    _constant(model, f"trap_{name}_near", np.float32(_NEAR))
    nodes = model.graph.node
    nodes.append(make("Sub", ["trade_off", f"trap_{name}_lambda"], [f"trap_{name}_gap"]))
    nodes.append(make("Abs", [f"trap_{name}_gap"], [f"trap_{name}_distance"]))
    nodes.append(make("Less", [f"trap_{name}_distance", f"trap_{name}_near"], [f"trap_{name}_at"]))


def _trips_at(model: onnx.ModelProto, make: Any, at: float) -> str:
    """Add nodes for the trips of a loop, endless at λ = `at`; return their name."""
    from onnx import TensorProto

    _constant(model, "trap_short", np.array(1, np.int64))
    _trigger(model, make, "hang", at)
    nodes = model.graph.node
    nodes.append(make("Cast", ["trap_hang_at"], ["trap_hang_number"], to=TensorProto.INT32))
    nodes.append(make("ReduceMax", ["trap_hang_number"], ["trap_hang_any"], keepdims=0))
    nodes.append(make("Cast", ["trap_hang_any"], ["trap_hang_flag"], to=TensorProto.BOOL))
    nodes.append(make("Where", ["trap_hang_flag", "trap_long", "trap_short"], ["trap_trips"]))
    return "trap_trips"


def _idle_body() -> onnx.GraphProto:
    """Return a loop's body that keeps its state and goes on."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("trap_i", TensorProto.INT64, []),
        helper.make_tensor_value_info("trap_go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("trap_state", TensorProto.FLOAT, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("trap_go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("trap_same", TensorProto.FLOAT, [1]),
    ]
    nodes = [
        helper.make_node("Identity", ["trap_go"], ["trap_go_on"]),
        helper.make_node("Neg", ["trap_state"], ["trap_same"]),
    ]
    return helper.make_graph(nodes, "trap_body", inputs, outputs)


def _constant(model: onnx.ModelProto, name: str, value: Any) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _rename_output(model: onnx.ModelProto, name: str) -> None:
    """Call what makes an output ``<name>_plain``, so that another node can make the output."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, found in enumerate(names):
                if found == name:
                    names[place] = f"{name}_plain"


def _edit_model(bundle: Path, edit: Callable[[onnx.ModelProto, Any], None]) -> None:
    """Change a bundle's graph. Raises `Skipped` where the package onnx is missing."""
    try:
        import onnx
    except ImportError:
        raise Skipped("needs the package onnx (make setup)") from None
    model = onnx.load(str(bundle / MODEL_FILE))
    edit(model, onnx.helper.make_node)
    _replace_model(bundle, model.SerializeToString())


def _replace_model(bundle: Path, content: bytes) -> None:
    (bundle / MODEL_FILE).write_bytes(content)
    manifest = json.loads((bundle / MANIFEST_FILE).read_text("utf-8"))
    files = {**manifest["files"], MODEL_FILE: hashlib.sha256(content).hexdigest()}
    _edit_manifest(bundle, files=files)


def _edit_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / MANIFEST_FILE
    write_json(path, {**json.loads(path.read_text("utf-8")), **changes})
