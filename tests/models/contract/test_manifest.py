"""`bundle.json`: its JSON form and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract.manifest import MANIFEST_FILE, DiversityDefaults, Limits, Manifest, QueueSpec, same_mix
from models.contract.spec import OBJECTIVES, FeatureSpec, Hashed, SpecError
from models.contract.tensor_specs import TensorSpec
from models.contract.verdict import UNMEASURED, Outcome, Verdict
from tests.models.contract.strategies import POSITIVE, SPECS
from tests.models.contract.test_spec import SPEC

MANIFEST = Manifest(
    name="demo",
    version="3",
    family="sort-gen",
    spec=SPEC,
    limits=Limits(list_length=10, queues=3, head_width=2),
    queues=(QueueSpec("click", "ctr"), QueueSpec("gmv", "ctr*price")),
    partition="bfs",
    objectives={"click": 5.0, "conversion": 1.0, "gmv": 0.0},
    units={"click": 0.05, "conversion": 0.001, "gmv": 0.5},
    diversity=DiversityDefaults(trade_off=0.8, window=4),
    fallback="ctr",
    inputs=(TensorSpec("valid", "bool", ("B", 30)),),
    outputs=(TensorSpec("order", "int64", ("B", 10)),),
    files={"model.onnx": "ab"},
    provenance={"data": {"seed": 0}},
    shares={"click": 0.5, "conversion": 0.0},
    valued=("click", "conversion"),
    verdict=Verdict("better", "It beats the sort.", ({"objective": "click", "gain": 0.02},)),
)
OPTIONAL = {"shares", "valued", "verdict"}
WEIGHTS = st.fixed_dictionaries(dict.fromkeys(("click", "conversion", "gmv"), POSITIVE))


@settings(max_examples=30, deadline=None)
@given(
    spec=SPECS,
    limits=st.builds(
        Limits, st.integers(1, 50), st.integers(2, 8), st.integers(1, 8), st.integers(0, 300), st.integers(1, 64)
    ),
    objectives=WEIGHTS,
    shares=st.none() | st.fixed_dictionaries(dict.fromkeys(("click", "conversion"), st.floats(0, 1))),
    verdict=st.builds(
        Verdict,
        st.sampled_from(get_args(Outcome)),
        st.text(min_size=1).filter(str.strip),
        st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False))).map(tuple),
    ),
    units=WEIGHTS,
    diversity=st.builds(DiversityDefaults, st.floats(0, 1), st.integers(0, 50)),
)
def test_a_manifest_survives_its_json_form(
    spec: FeatureSpec,
    limits: Limits,
    objectives: Any,
    shares: Any,
    verdict: Verdict,
    units: Any,
    diversity: DiversityDefaults,
) -> None:
    sizes: dict[str, Any] = {"limits": limits, "objectives": objectives, "units": units, "diversity": diversity}
    learnt: dict[str, Any] = {"shares": shares, "verdict": verdict, "valued": OBJECTIVES}
    manifest = replace(MANIFEST, spec=spec, partition="dfs", **sizes, **learnt)
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest


def test_a_manifest_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_text(json.dumps(MANIFEST.to_json()), "utf-8")
    assert Manifest.read(tmp_path) == MANIFEST


@pytest.mark.parametrize("content", [b"", b'{"name": "de', b"\xff\xfe", b"nothing"])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(SpecError, match=r"bundle\.json: is not valid JSON: "):
        Manifest.read(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"bundle\.json: cannot be read: No such file"):
        Manifest.read(tmp_path)


def test_a_malformed_manifest_is_refused_naming_file_and_key(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_text(json.dumps({**MANIFEST.to_json(), "name": 3}))
    with pytest.raises(SpecError, match=r"bundle\.json: bundle\.name: must be a string$"):
        Manifest.read(tmp_path)


def edited(edit: Callable[[Any], Any]) -> object:
    data = json.loads(json.dumps(MANIFEST.to_json()))
    edit(data)
    return data


def refusal(edit: Callable[[Any], Any]) -> str:
    with pytest.raises(SpecError) as caught:
        Manifest.from_json(edited(edit))
    return str(caught.value)


@pytest.mark.parametrize("key", sorted(set(MANIFEST.to_json()) - OPTIONAL))
def test_every_missing_key_is_named(key: str) -> None:
    assert refusal(lambda d: d.pop(key)) == f"bundle.{key}: is missing"


@pytest.mark.parametrize("key", sorted(set(MANIFEST.to_json()) - {"format", "fingerprint"}))
def test_every_key_of_a_wrong_type_is_named(key: str) -> None:
    assert refusal(lambda d: d.update({key: 3})).startswith(f"{'spec' if key == 'spec' else f'bundle.{key}'}: must be ")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(extra=1), "bundle.extra: unknown key"),
        (lambda d: d.update(format=2), "bundle.format: this version reads format 1, not 2"),
        (lambda d: d.update(family="pointer"), "bundle.family: must be one of"),
        (lambda d: d.update(partition="zigzag"), "bundle.partition: must be one of"),
        (lambda d: d.update(queues=[]), "bundle.queues: must be 1 to 3 queues, not 0"),
        (lambda d: d.update(queues=d["queues"] * 2), "bundle.queues: must be 1 to 3 queues, not 4"),
        (lambda d: d["queues"][1].pop("score"), "bundle.queues[1].score: is missing"),
        (lambda d: d["queues"][1].update(score=1), "bundle.queues[1].score: must be of type str, not int"),
        (lambda d: d["limits"].update(queues=2.0), "bundle.limits.queues: must be of type int, not float"),
        (lambda d: d["limits"].update(list_length=0), "limits.list_length: must be at least 1"),
        (lambda d: d["limits"].update(queue_length=-1), "limits.queue_length: must be at least 1"),
        (lambda d: d["limits"].update(head_width=0), "limits.head_width: must be at least 1"),
        (lambda d: d["limits"].update(beam_width=0), "limits.beam_width: must be at least 1"),
        (lambda d: d["limits"].pop("queues"), "bundle.limits.queues: is missing"),
        (lambda d: d["objectives"].pop("gmv"), "bundle.objectives: must have exactly the keys"),
        (lambda d: d["units"].update(profit=1), "bundle.units: must have exactly the keys"),
        (lambda d: d["units"].update(gmv="1"), "bundle.units.gmv: must be of type float, not str"),
        (lambda d: d["units"].update(gmv=10**400), "bundle.units.gmv: is too large for a float"),
        (lambda d: d["units"].update(gmv=0), "bundle.units.gmv: must be a finite number above 0"),
        (lambda d: d["units"].update(gmv=float("nan")), "bundle.units.gmv: must be a finite number above 0"),
        (lambda d: d["objectives"].update(click=-1), "bundle.objectives.click: must be a finite number of at least 0"),
        (lambda d: d["objectives"].update(click=float("inf")), "bundle.objectives.click: must be a finite number"),
        (lambda d: d["diversity"].update(window=-1), "diversity.window: must be at least 0, not -1"),
        (lambda d: d["diversity"].update(trade_off=1.1), "diversity.trade_off: must be within 0..1, not 1.1"),
        (lambda d: d["diversity"].update(cap=1), "bundle.diversity.cap: unknown key"),
        (lambda d: d["inputs"][0].update(name=3), "bundle.inputs[0].name: must be a string"),
        (lambda d: d["outputs"][0].update(dtype=None), "bundle.outputs[0].dtype: must be a string"),
        (lambda d: d["inputs"][0].update(shape=[1.5]), "bundle.inputs[0].shape: must be an array of sizes"),
        (lambda d: d["inputs"][0].pop("shape"), "bundle.inputs[0].shape: is missing"),
        (lambda d: d["shares"].pop("click"), "bundle.shares: must have exactly the keys click, conversion"),
        (lambda d: d["shares"].update(gmv=1), "bundle.shares: must have exactly the keys click, conversion"),
        (lambda d: d["shares"].update(click=1.5), "bundle.shares.click: must be within 0..1, not 1.5"),
        (lambda d: d["shares"].update(click=float("nan")), "bundle.shares.click: must be within 0..1, not nan"),
        (lambda d: d["shares"].update(click=None), "bundle.shares.click: must be of type float, not NoneType"),
        (lambda d: d.update(shares=None), "bundle.shares: must be an object"),
        (lambda d: d.update(valued=[]), "bundle.valued: must be some of click, conversion, gmv, each once"),
        (lambda d: d.update(valued=["click", "click"]), "bundle.valued: must be some of"),
        (lambda d: d.update(valued=["profit"]), "bundle.valued: must be some of"),
        (lambda d: d.update(valued=[1]), "bundle.valued: must be an array of strings"),
        (lambda d: d.update(valued=["click"]), "bundle.objectives.conversion: must be 0, since the model values click"),
        (lambda d: d["verdict"].update(outcome="superb"), "verdict.outcome: must be one of better, same, worse, sort"),
        (lambda d: d["verdict"].update(sentence=" "), "verdict.sentence: must not be empty"),
        (lambda d: d["verdict"].update(sentence=1), "bundle.verdict.sentence: must be of type str, not int"),
        (lambda d: d["verdict"].pop("sentence"), "bundle.verdict.sentence: is missing"),
        (lambda d: d["verdict"].update(figures={}), "bundle.verdict.figures: must be an array"),
        (lambda d: d["verdict"].update(figures=[1]), "bundle.verdict.figures[0]: must be an object"),
        (lambda d: d["verdict"].update(mood="glad"), "bundle.verdict.mood: unknown key"),
    ],
)
def test_a_malformed_manifest_is_refused_naming_the_key(edit: Callable[[Any], Any], message: str) -> None:
    assert refusal(edit).startswith(message)


def test_a_fingerprint_that_is_not_the_specs_is_refused_saying_both() -> None:
    other = replace(SPEC, user=(Hashed("city", 3),))
    message = refusal(lambda d: d.update(spec=other.to_json()))
    assert message.startswith("bundle.fingerprint: ")
    assert SPEC.fingerprint in message
    assert other.fingerprint in message


def test_slots_are_queues_times_their_length_which_is_that_of_the_list_unless_given() -> None:
    assert Limits(list_length=10, queues=3, head_width=4).slots == 30
    assert Limits(list_length=10, queues=3, queue_length=50).slots == 150


def test_limits_written_before_queues_had_a_length_of_their_own_are_read() -> None:
    assert Manifest.from_json(edited(lambda d: d["limits"].pop("queue_length"))) == MANIFEST


def test_a_bundle_from_before_there_were_verdicts_values_everything_and_is_unmeasured() -> None:
    def strip(data: Any) -> None:
        for key in OPTIONAL:
            del data[key]

    old = Manifest.from_json(edited(strip))
    assert (old.shares, old.valued, old.verdict) == (None, OBJECTIVES, UNMEASURED)
    assert old.verdict.outcome == "unmeasured"


@pytest.mark.parametrize(
    ("shares", "weights", "bypassed"),
    [
        ((0, 0), (5, 1, 1), True),
        ((0.25, 0), (5, 1, 1), False),
        ((0.25, 0), (0, 1, 0), True),
        ((0.25, 0), (0, 0, 1), True),
        ((0.25, 0), (1e-9, 1, 1), False),
        ((0, 0.25), (1, 0, 0), True),
        ((0, 0.25), (0, 0, 1), False),
        (None, (5, 1, 1), False),
    ],
)
def test_the_sort_decides_if_nothing_learnt_is_kept_for_what_is_asked(
    shares: Any, weights: tuple[float, ...], bypassed: bool
) -> None:
    known = None if shares is None else dict(zip(("click", "conversion"), shares, strict=True))
    assert replace(MANIFEST, shares=known).bypassed(dict(zip(OBJECTIVES, weights, strict=True))) is bypassed


def test_objectives_that_the_model_does_not_value_are_found_where_they_have_weight() -> None:
    assert MANIFEST.not_valued({"click": 1, "conversion": 1, "gmv": 0}) == []
    assert MANIFEST.not_valued({"click": 0, "conversion": 0, "gmv": 0.1}) == ["gmv"]


def test_a_graph_takes_any_slots_if_their_axis_has_a_name_and_any_objectives_if_it_takes_weights() -> None:
    assert (MANIFEST.any_slots, MANIFEST.fixed_objectives) == (False, True)
    inputs = (TensorSpec("valid", "bool", ("B", "N")), TensorSpec("objective_weights", "float32", ("B", 3)))
    open_one = replace(MANIFEST, inputs=inputs)
    assert (open_one.any_slots, open_one.fixed_objectives) == (True, False)


def test_queues_have_their_places_in_the_graph_or_share_all_slots_if_their_number_is_free() -> None:
    limits = Limits(list_length=4, queues=3, queue_length=10)
    fixed = replace(MANIFEST, queues=(QueueSpec("click", "ctr"),), limits=limits)
    free = replace(fixed, inputs=(TensorSpec("valid", "bool", ("B", "N")),))
    assert [fixed.places(q) for q in (1, 2, 3)] == [10, 10, 10]
    assert [free.places(q) for q in (1, 2, 3)] == [30, 15, 10]


MIXES = st.fixed_dictionaries(dict.fromkeys(("click", "conversion", "gmv"), st.integers(0, 100))).filter(
    lambda mix: sum(mix.values()) > 0
)


@given(mix=MIXES, other=MIXES, factor=st.floats(1e-3, 1e3))
def test_mixes_are_the_same_if_one_is_a_multiple_of_the_other(
    mix: dict[str, int], other: dict[str, int], factor: float
) -> None:
    assert same_mix(mix, {name: weight * factor for name, weight in mix.items()})
    parallel = all(mix[a] * other[b] == mix[b] * other[a] for a in mix for b in mix)
    assert same_mix(mix, other) == parallel
