"""The comparison with peers: same lists first, then figures; here with the peers that this environment has."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from loadtest.peers import __main__ as command
from loadtest.peers import kserve, report, schemas
from loadtest.peers.comparison import ClosedRow, GoodputRow, Results, SameError, check_same
from loadtest.peers.contenders import TUNED, VARIANTS, contender, missing, title
from loadtest.peers.pipeline import Pipeline
from loadtest.rig.contender import Memory
from loadtest.rig.goodput import Trial
from loadtest.rig.openloop.build import why_unavailable
from models.contract.manifest import DEMO_BUNDLE, Limits
from tests.loadtest.tables import squeezed
from tests.service.tiny_bundle import Options, write_bundle


def results(*, ours: float = 2.0, peer: float = 4.0, our_goodput: float = 600, peer_goodput: float = 300) -> Results:
    names = {report.OURS: (ours, our_goodput), report.CONTROL: (ours, our_goodput)}
    names |= {"fastapi": (peer * 0.9, peer_goodput * 0.9), "litserve": (peer, peer_goodput)}
    closed = [
        ClosedRow(block, name, n, p50 * n + block / 100, p50 * 3, 100.0, 1.5, p50 - 1.5, 1.0)
        for block, (name, (p50, _)), n in itertools.product(range(3), names.items(), (1, 2))
    ]
    goodput = [
        GoodputRow(block, name, rate + block, (Trial(rate, 900, 5.0, 18.0, rate, 0, 0, 0, True),))
        for block, (name, (_, rate)) in itertools.product(range(3), names.items())
    ]
    memory = {name: Memory(100, 80, 1) for name in names}
    return Results(list(names), closed, goodput, memory)


def test_targets_are_reached_or_not_by_the_paired_medians() -> None:
    good = report.checks(results())
    assert [c.passed for c in good] == [True] * 4
    assert [round(float(c.measured.split()[0]), 2) for c in good] == [0.56, 0.5, 0.24, 2.0]
    assert "litserve" in good[1].name
    bad = report.checks(results(ours=3.5, our_goodput=380))
    assert [c.passed for c in bad] == [False] * 4


@pytest.mark.parametrize(("rate", "reached"), [(300.0, True), (350.0, False)])
def test_the_goodput_is_held_to_that_of_the_bare_loop(rate: float, reached: bool) -> None:
    found = results(our_goodput=300)
    trials = found.goodput[0].trials
    found.contenders.append(report.BARE)
    found.goodput += [GoodputRow(block, report.BARE, rate + block, trials) for block in range(3)]
    found.closed.clear()
    first, _ = report.checks(found)
    assert (first.name, first.target, first.passed) == ("goodput, to fastapi-msgspec's", "≥ 0.9 times", reached)


def test_the_report_names_everyone_and_says_what_was_not_reached() -> None:
    text = squeezed(report.tables(results(our_goodput=380)))
    for name in (report.OURS, report.CONTROL, "fastapi", "litserve"):
        assert f"| {name} |" in text
    assert "| **missed** |" in text
    assert "| 2.01 / 6.00 |" in text


def test_peers_that_are_tuned_are_told_without_us() -> None:
    tuned = results()
    names = ["fastapi", "litserve"]
    alone = Results(names, [], [row for row in tuned.goodput if row.contender in names], {})
    text = squeezed(report.tables(alone))
    assert "| litserve | 301 |" in text
    assert report.OURS not in text
    assert "Targets" not in text


def test_results_become_plain_json() -> None:
    found = results()
    lost = Trial(9, 10, 1.0, float("inf"), 0.0, 0, 0, 0, False)
    found.goodput.append(dataclasses.replace(found.goodput[0], trials=(lost,)))
    table = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert table["goodput"][-1]["trials"][0]["p99_ms"] is None


def test_every_peer_is_tuned_to_one_of_its_variants() -> None:
    assert TUNED.keys() == VARIANTS.keys()
    for peer, setting in TUNED.items():
        assert setting in VARIANTS[peer]
        assert len({title(peer, variant) for variant in VARIANTS[peer]}) == len(VARIANTS[peer])
    with pytest.raises(ValueError, match="peer: 'nobody' is none of"):
        contender("nobody", DEMO_BUNDLE, {})


def test_a_peer_without_its_environment_is_named(tmp_path: Path) -> None:
    assert missing("fastapi", tmp_path) is None
    for peer in ("litserve", "bentoml", "pytriton"):
        assert "make peers-setup" in str(missing(peer, tmp_path))


@pytest.mark.parametrize("body", [b"{}", b'{"candidates": [1, 2, 3]}' * 500])
def test_a_request_to_triton_has_a_json_part_of_the_length_that_its_header_says(body: bytes) -> None:
    wrapped = kserve.wrap(body)
    length = int(kserve.HEADERS["Inference-Header-Content-Length"])
    head = json.loads(wrapped[:length])
    assert head["inputs"][0]["parameters"]["binary_data_size"] == len(wrapped) - length
    assert wrapped.endswith(body)


def test_the_peers_refuse_a_graph_that_takes_any_slots(tmp_path: Path) -> None:
    from tests.service.degre_bundle import write_degre_bundle

    folder = write_degre_bundle(tmp_path)
    with pytest.raises(ValueError, match="takes any slots"):
        Pipeline(folder)


def test_a_pipeline_gives_each_row_of_a_batch_what_it_gives_it_alone(tmp_path: Path) -> None:
    import msgspec

    from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads

    folder = write_bundle(tmp_path, Options())
    pipeline = Pipeline(folder)
    bodies = [p.body for p in make_payloads(from_bundle(folder, seed=1), PayloadOptions(count=5, sizes={12: 1.0}))]
    requests = [msgspec.json.decode(body, type=schemas.PeerRequest) for body in bodies]
    alone = [pipeline.rerank(request)["items"] for request in requests]
    assert [answer["items"] for answer in pipeline.rerank_batch(requests)] == alone


@pytest.mark.slow
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
@pytest.mark.parametrize(("form", "peer"), [("objects", "fastapi"), ("catalogue", "fastapi-msgspec")])
def test_a_short_comparison_runs_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, peer: str
) -> None:
    short = ["--closed-blocks", "1", "--closed-seconds", "0.2", "--blocks", "1", "--seconds", "0.2"]
    sizes = ["--candidates", "20", "--concurrency", "1", "2", "--budget-ms", "200"]
    search = ["--guess", "100", "--resolution", "9", "--form", form, "--items", "200", "--embedding-width", "4"]
    where = ["--bundle", str(DEMO_BUNDLE), "--peers", peer, "--out", str(tmp_path)]
    assert command.main([*where, *short, *sizes, *search]) == 0
    said = capsys.readouterr()
    assert "3 contenders give the same lists for 64 requests" in said.err
    table = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    assert table["contenders"] == ["listwright", "listwright again", peer]
    assert {row["concurrency"] for row in table["closed"]} == {1, 2}
    assert len(table["goodput"]) == 3
    assert said.out.strip() == (tmp_path / "peers.md").read_text("utf-8").strip()


@pytest.mark.long
@pytest.mark.skipif(bool(why_unavailable()), reason=str(why_unavailable()))
def test_different_lists_are_no_comparison(tmp_path: Path) -> None:
    from loadtest.requests.payloads import PayloadOptions, from_bundle, make_payloads
    from loadtest.rig.contender import arena
    from loadtest.rig.server import CpuSplit

    first = write_bundle(tmp_path / "a", Options())
    other = write_bundle(tmp_path / "b", Options(limits=Limits(list_length=4, queues=3)))
    bodies = [p.body for p in make_payloads(from_bundle(first, seed=1), PayloadOptions(count=8, sizes={12: 1.0}))]
    pair = [contender("fastapi", folder, TUNED["fastapi"]) for folder in (first, other)]
    with arena(pair, bodies, CpuSplit((0,), (0,))) as places, pytest.raises(SameError, match="request"):
        check_same(places)
