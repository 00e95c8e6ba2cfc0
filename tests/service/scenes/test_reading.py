"""The file of scenes: what it may say, and that whatever is wrong in it is refused with the name of the key."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from models.contract.tensor_specs import RuledGraph
from service.contract.schemas import Diversity, Objectives, Queue
from service.scenes.checking import check_scene
from service.scenes.reading import MOST_BYTES, parse_scenes, read_scenes
from service.scenes.scene import MOST_SCENES, SceneError, encode_scenes
from tests.service.tiny_bundle import Options, make_manifest

HOME_FEED = """
[scenes.home-feed]
model = "tiny"
top_n = 4
timeout_ms = 15
objectives = {click = 5, conversion = 1, gmv = 1}
diversity = {lambda = 0.8, window = 4}
queues = [{name = "ctr", score = "ctr"}]
partition = "bfs"
[scenes.home-feed.rules]
pinned = [{id = "ad-7", position = 3}]
blocked = ["sku-4"]
caps = [{by = "brand", limit = 2, window = 5}, {by = "category", limit = 4}]
floors = [{by = "source", value = "new", least = 2, within = 10}]
boosts = [{where = {category = "shoes"}, factor = 1.2}]
"""


def problem(text: str | bytes) -> str:
    """Why a file is refused."""
    with pytest.raises(SceneError) as caught:
        parse_scenes(text if isinstance(text, bytes) else text.encode())
    return str(caught.value)


def test_every_key_of_a_scene_is_read() -> None:
    (scene,) = parse_scenes(HOME_FEED.encode()).values()
    assert (scene.name, scene.model, scene.version, scene.top_n) == ("home-feed", "tiny", None, 4)
    assert (scene.timeout_ms, scene.partition) == (15, "bfs")
    assert scene.objectives == Objectives(click=5, conversion=1, gmv=1)
    assert scene.diversity == Diversity(trade_off=0.8, window=4)
    assert scene.queues == [Queue(name="ctr", score="ctr")]
    assert scene.rules is not None
    rules = scene.rules.compiled()
    assert [(pin.id, pin.position) for pin in rules.pinned] == [("ad-7", 3)]
    assert rules.blocked == {"sku-4"}
    assert (len(rules.caps), len(rules.floors), len(rules.boosts)) == (2, 1, 1)


def test_in_json_a_scene_has_only_what_its_table_has() -> None:
    found: Any = json.loads(encode_scenes([*parse_scenes(HOME_FEED.encode()).values()]))
    (scene,) = found["scenes"]
    assert scene["diversity"] == {"lambda": 0.8, "window": 4}
    assert scene["rules"]["caps"] == [{"by": "brand", "limit": 2, "window": 5}, {"by": "category", "limit": 4}]
    assert "version" not in scene
    assert json.loads(encode_scenes([*parse_scenes(b"[scenes.a]\nrules = {}").values()])) == {
        "scenes": [{"name": "a", "rules": {}}]
    }


@pytest.mark.parametrize("text", [b"", b"# nothing yet\n", b"[scenes]\n"])
def test_a_file_may_have_no_scenes(text: bytes) -> None:
    assert parse_scenes(text) == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x = 1", "x: is not a known key"),
        ("scenes = 1", "scenes: must be a table"),
        ("scenes.a = 1", "scenes.a: must be a table"),
        ("[scenes.A]", "scenes.A: is no name"),
        ("[scenes.a_b]", "scenes.a_b: is no name"),
        ("[scenes.-a]", "scenes.-a: is no name"),
        (f"[scenes.{'a' * 65}]", f"scenes.'{'a' * 64}': is no name"),
        ("[scenes.'a\\nb']", "is no name"),
        ('[scenes."a\\nb"]', "scenes.'a\\nb': is no name"),
        ("[scenes.none]", "scenes.none: is no name"),
        ("[scenes.a]\nname = 'b'", "scenes.a.name: is not a known key"),
        ("[scenes.a]\ntopn = 5", "scenes.a.topn: is not a known key"),
        ("[scenes.a.rules]\npins = []", "scenes.a.rules.pins: is not a known key"),
        ("[scenes.a]\nrules.caps = [{by = 'b', limit = 1, widow = 3}]", "scenes.a.rules.caps[0].widow: is not a known"),
        ("[scenes.a]\nrules.caps = [{limit = 1}]", "scenes.a.rules.caps[0].by: is missing"),
        ("[scenes.a]\nrules.caps = [{by = 'b', limit = 0}]", "scenes.a.rules.caps[0].limit: Expected int >= 1"),
        ("[scenes.a]\nrules.caps = [{by = 'b', limit = 1, window = 10000}]", "scenes.a.rules.caps[0].window: Expected"),
        ("[scenes.a]\nrules.boosts = [{where = {}, factor = 1.2}]", "scenes.a.rules.boosts[0].where: Expected"),
        ("[scenes.a]\nrules.boosts = [{where = {b = [1]}, factor = 2}]", "scenes.a.rules.boosts[0].where[...]: "),
        ("[scenes.a]\nrules.boosts = [{where = {b = 1}, factor = nan}]", "scenes.a.rules.boosts[0].factor: must be a"),
        ("[scenes.a]\nrules.floors = [{by = 'b', value = inf, least = 1, within = 2}]", "floors[0].value: must be a"),
        ("[scenes.a]\nobjectives.click = -1", "scenes.a.objectives.click: Expected float >= 0"),
        ("[scenes.a]\nobjectives.likes = 1", "scenes.a.objectives.likes: is not a known key"),
        ("[scenes.a]\ndiversity.lambda = 2", "scenes.a.diversity.lambda: Expected float <= 1"),
        ("[scenes.a]\nqueues = []", "scenes.a.queues: Expected array of length >= 1"),
        ("[scenes.a]\nqueues = [{name = 'q', score = 'a'}, {name = 'q', score = 'b'}]", "scenes.a.queues[1].name: 'q'"),
        ("[scenes.a]\npartition = 'xyz'", "scenes.a.partition: "),
        ("[scenes.a]\ntop_n = '5'", "scenes.a.top_n: Expected int"),
        ("[scenes.a]\ntop_n = 5.0", "scenes.a.top_n: Expected int"),
        ("[scenes.a]\ntop_n = 1979-05-27", "scenes.a.top_n: Expected int"),
        ("[scenes.a]\ntimeout_ms = 0", "scenes.a.timeout_ms: Expected float > 0"),
        ("[scenes.a]\nmodel = ''", "scenes.a.model: Expected str of length >= 1"),
        ("[scenes.a]\n[scenes.a]", "is not valid TOML"),
        ("[scenes.a", "is not valid TOML"),
        ("a = " + "[" * 100_000, "is nested too deeply"),
        ("[scenes.a]\n" + "a." * 2_000 + "a = 1", "is nested too deeply"),
        ("a = " + "9" * 5_000, "is not valid TOML"),
        (b"[scenes.a]\nmodel = '\xff'", "is not valid TOML"),
    ],
)
def test_whatever_is_wrong_is_refused_by_the_name_of_its_key(text: str | bytes, named: str) -> None:
    found = problem(text)
    assert named in found
    assert found.isprintable()
    assert len(found) < 500


def test_pins_that_contradict_each_other_are_refused_by_both_names() -> None:
    pins = "[scenes.a]\ntop_n = 5\nrules.pinned = [{id = 'x', position = 1}, {id = 'y', position = %d}]"
    assert parse_scenes((pins % 2).encode())
    assert "scenes.a.rules.pinned[1].position: 1 is also the position of rules.pinned[0]" in problem(pins % 1)
    assert "scenes.a.rules.pinned[1].position: 6 is beyond top_n" in problem(pins % 6)
    twice = "[scenes.a.rules]\npinned = [{id = 'x', position = 1}, {id = 'x', position = 2}]"
    assert "scenes.a.rules.pinned[1].id: 'x' is also the id of rules.pinned[0]" in problem(twice)
    banned = "[scenes.a.rules]\npinned = [{id = 'x', position = 1}]\nblocked = ['w', 'x']"
    assert "scenes.a.rules.pinned[0].id: 'x' is also rules.blocked[1]" in problem(banned)


def test_a_scene_that_asks_for_too_many_fields_is_refused_by_the_name_of_one() -> None:
    boosts = [", ".join(f"x{16 * i + k} = 1" for k in range(16)) for i in range(3)]
    text = "\n".join(f"[[scenes.a.rules.boosts]]\nfactor = 2\nwhere = {{{where}}}" for where in boosts)
    assert "scenes.a.rules.boosts[2].where.x32: is one field too many" in problem(text)


def test_there_is_a_limit_to_scenes_and_to_the_file(tmp_path: Path) -> None:
    tables = [f"[scenes.s{i}]\n" for i in range(MOST_SCENES + 1)]
    assert len(parse_scenes("".join(tables[:-1]).encode())) == MOST_SCENES
    assert f"scenes: has {MOST_SCENES + 1} scenes" in problem("".join(tables))
    (tmp_path / "scenes.toml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(SceneError, match="is larger than"):
        read_scenes(tmp_path)


def test_a_folder_without_the_file_has_no_scenes(tmp_path: Path) -> None:
    assert read_scenes(tmp_path) == {}
    with pytest.raises(SceneError, match="folder is not there"):
        read_scenes(tmp_path / "gone")
    (tmp_path / "scenes.toml").mkdir()
    with pytest.raises(SceneError, match="not a regular file"):
        read_scenes(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Unix")
def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scenes.toml")
    began = time.monotonic()
    with pytest.raises(SceneError, match="not a regular file"):
        read_scenes(tmp_path)
    assert time.monotonic() - began < 30


def fault(text: str, **changes: Any) -> str | None:
    """Why a scene does not fit the tiny bundle, if it does not."""
    manifest = dataclasses.replace(make_manifest(Options()), **changes)
    (scene,) = parse_scenes(f"[scenes.a]\n{text}".encode()).values()
    try:
        check_scene(scene, manifest)
    except SceneError as error:
        return str(error)
    return None


def test_a_scene_is_held_to_its_model() -> None:
    queue = "{name = 'q%d', score = 'ctr'}"
    three, four = (", ".join(queue % i for i in range(n)) for n in (3, 4))
    assert fault(f"queues = [{three}]") is None
    assert fault(f"queues = [{four}]") == "scenes.a.queues: has 4 queues; model 'tiny' takes at most 3"
    assert "scenes.a.queues[0].score: " in str(fault("queues = [{name = 'q', score = 'ctr +'}]"))
    assert fault("objectives = {gmv = 1}") is None
    two = {"valued": ("click", "conversion"), "objectives": {"click": 1.0, "conversion": 1.0, "gmv": 0.0}}
    assert "scenes.a.objectives.gmv: must be 0" in str(fault("objectives = {gmv = 1}", **two))
    nothing = "objectives = {click = 0, conversion = 0, gmv = 0}"
    assert "scenes.a.objectives: are all zero" in str(fault(nothing))


def test_a_pin_behind_the_list_of_the_model_is_refused_unless_the_scene_has_a_length() -> None:
    pin, ruled = "rules.pinned = [{id = 'x', position = 6}]", RuledGraph(32, (), ())
    named = "scenes.a.rules.pinned[0].position: 6 is beyond the model's list length, which is 5"
    assert fault(pin, ruled=ruled) == named
    assert fault(f"top_n = 6\n{pin}", ruled=ruled) is None


@pytest.mark.parametrize(
    ("rules", "needs_a_graph"),
    [
        ("rules.blocked = ['x']", False),
        ("rules.caps = []", False),
        ("rules.caps = [{by = 'anything', limit = 1}]", True),
        ("rules.pinned = [{id = 'x', position = 1}]", True),
        ("rules.floors = [{by = 'b', value = 1, least = 1, within = 2}]", True),
        ("rules.boosts = [{where = {b = 1}, factor = 2}]", True),
    ],
)
def test_rules_need_a_model_with_a_graph_for_them(rules: str, needs_a_graph: bool) -> None:
    found = fault(rules)
    assert (found is not None) == needs_a_graph
    assert not needs_a_graph or "has no graph for rules" in str(found)
    assert fault(rules, ruled=RuledGraph(32, (), ())) is None
