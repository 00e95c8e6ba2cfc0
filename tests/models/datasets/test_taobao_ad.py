"""Taobao Ad: a made-up copy in the original format, cut into sixes as the protocol says."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.cli import main
from models.contract.scalars import Scalar
from models.data.list_file import read_lists, read_metadata
from models.data.records import ListRecord
from models.datasets import taobao_ad
from models.datasets.table import TableError, read_columns
from models.datasets.taobao_log import AdImpressions, draw_unseen

USERS, ADS = 40, 50
NO_PROFILE, TOO_FEW = 100 + USERS - 1, 100
Row = tuple[int, int, int, str, int, int]
SAMPLE = "user,time_stamp,adgroup_id,pid,nonclk,clk"
AD = "adgroup_id,cate_id,campaign_id,customer,brand,price"
PROFILE = (
    "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level ,shopping_level,occupation,"
    "new_user_class_level "
)


def impressions() -> list[Row]:
    """From 4 to 43 impressions a user, out of order, with ties in time and ads shown again."""
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for user in range(USERS):
        for _ in range(4 + user):
            ad, time, click = 1000 + int(rng.integers(ADS)), 1494 + int(rng.integers(8)), int(rng.random() < 0.3)
            rows.append((100 + user, time, ad, ("430548_1007", "430539_1007")[int(rng.integers(2))], 1 - click, click))
    return [rows[i] for i in rng.permutation(len(rows)).tolist()]


def folder(path: Path, rows: Sequence[Row]) -> Path:
    path.mkdir()
    lines = [SAMPLE, *(",".join(map(str, row)) for row in rows)]
    (path / "raw_sample.csv").write_text("\n".join(lines) + "\n")
    brands = ("NULL", "", "77")
    ads = [f"{1000 + a},{a % 5},{a % 7},{a % 3},{brands[a % 3]},{a + 0.5}" for a in range(ADS)]
    (path / "ad_feature.csv").write_text("\n".join([AD, *ads]) + "\n")
    people = [
        f"{u},{u % 4},1,{1 + u % 2},{u % 6},{(u % 3) or ''},3,0,{'' if u % 2 else ' 2 '}" for u in range(100, 139)
    ]
    (path / "user_profile.csv").write_text("\n".join([PROFILE, *people]) + "\n")
    return path


def load(path: Path, users: int | None = None) -> list[ListRecord]:
    return list(taobao_ad.load(path, seed=5, users=users).records)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[ListRecord]:
    return load(folder(tmp_path_factory.mktemp("ads") / "taobao", impressions()))


def shown(record: ListRecord) -> list[int]:
    return [int(record.candidates[i].id) for i in record.exposed]


def first_impressions(user: int) -> list[Row]:
    """By time, ties in file order, an ad's repeats left out."""
    found: dict[int, Row] = {}
    for row in sorted((row for row in impressions() if row[0] == user), key=lambda row: row[1]):
        found.setdefault(row[2], row)
    return list(found.values())


def test_first_impressions_are_cut_into_sixes_backward_from_the_end(lists: list[ListRecord]) -> None:
    for user in range(100, 100 + USERS):
        mine = first_impressions(user)
        kept = mine[len(mine) % 6 :]
        found = [r for r in lists if r.user["user"] == str(user)]
        assert [ad for r in found for ad in shown(r)] == [row[2] for row in kept]
        assert [c for r in found for c in r.clicks] == [row[5] for row in kept]
        assert [r.split for r in found] == [*["train"] * len(found), "valid", "test"][2:]
        assert [r.context for r in found] == [{"pid": row[3]} for row in kept[::6]]
    assert not [r for r in lists if r.user["user"] == str(TOO_FEW)]
    assert any(len(first_impressions(u)) < sum(row[0] == u for row in impressions()) for u in range(100, 100 + USERS))


def test_six_candidates_were_never_shown_to_the_user_and_the_order_is_shuffled(lists: list[ListRecord]) -> None:
    places = np.zeros(12)
    for record in lists:
        seen = {row[2] for row in impressions() if str(row[0]) == record.user["user"]}
        others = {int(c.id) for c in record.candidates} - set(shown(record))
        assert len(record.candidates) == 12
        assert len(others) == 6
        assert not others & seen
        places[list(record.exposed)] += 1
    assert places.min() > 0.25 * len(lists)


def test_records_say_what_the_files_say_and_leave_out_what_is_missing(lists: list[ListRecord]) -> None:
    record = next(r for r in lists if r.user["user"] == "121")
    assert record.user == {
        "user": "121", "cms_segid": "1", "cms_group_id": "1", "final_gender_code": "2", "age_level": "1",
        "pvalue_level": "1", "shopping_level": "3", "occupation": "0",
    }  # fmt: skip
    even = next(r for r in lists if r.user["user"] == "120")
    assert "pvalue_level" not in even.user
    assert even.user["new_user_class_level"] == "2"
    assert next(r for r in lists if r.user["user"] == str(NO_PROFILE)).user == {"user": str(NO_PROFILE)}
    for candidate in record.candidates:
        a = int(candidate.id) - 1000
        brand = {"brand": "77"} if a % 3 == 2 else {}
        ids = {"adgroup_id": candidate.id, "cate_id": str(a % 5), "campaign_id": str(a % 7), "customer": str(a % 3)}
        assert candidate.features == {**ids, **brand}
        assert candidate.price == a + 0.5
        assert 0 < candidate.scores["ctr"] < 1
    assert record.purchases is None
    assert record.gmv is None


def flipped(rows: list[Row], changed: set[tuple[Scalar, int]]) -> list[Row]:
    return [(*row[:4], row[5], row[4]) if (str(row[0]), row[2]) in changed else row for row in rows]


def test_no_score_depends_on_any_test_label(tmp_path: Path, lists: list[ListRecord]) -> None:
    changed = {(r.user["user"], ad) for r in lists if r.split == "test" for ad in shown(r)}
    after = load(folder(tmp_path / "changed", flipped(impressions(), changed)))
    assert [r.clicks for r in after] != [r.clicks for r in lists]
    assert [r.candidates for r in after] == [r.candidates for r in lists]


def test_no_score_depends_on_the_lists_own_labels(tmp_path: Path, lists: list[ListRecord]) -> None:
    train = next(r for r in lists if r.split == "train")
    changed = {(train.user["user"], ad) for ad in shown(train)}
    after = load(folder(tmp_path / "changed", flipped(impressions(), changed)))
    again = next(r for r in after if r.request_id == train.request_id)
    assert again.clicks != train.clicks
    assert again.candidates == train.candidates


def test_users_takes_a_seeded_subset_of_those_who_have_a_list(tmp_path: Path, lists: list[ListRecord]) -> None:
    path = folder(tmp_path / "taobao", impressions())
    some = load(path, users=30)
    names = {r.user["user"] for r in some}
    assert len(names) == 30
    assert some == load(path, users=30)
    whole = {r.request_id: (shown(r), r.clicks, r.split) for r in lists if r.user["user"] in names}
    assert {r.request_id: (shown(r), r.clicks, r.split) for r in some} == whole
    assert load(path, users=10_000) == lists
    with pytest.raises(ValueError, match="--users must be at least 1, not 0"):
        load(path, users=0)


def test_unseen_ads_are_drawn_evenly_from_all_that_the_user_did_not_see() -> None:
    ad = np.arange(12)

    def log(user: NDArray[np.int64]) -> AdImpressions:
        return AdImpressions(np.unique(user), user, ad, 0 * ad, 0 * ad, ["a"])

    with pytest.raises(ValueError, match="a user has seen all but 4 ads"):
        draw_unseen(log(np.repeat([0, 1], [4, 8])), np.zeros(3, np.int64), seed=0)
    drawn = draw_unseen(log(np.repeat([0, 1, 2], 4)), np.zeros(4000, np.int64), seed=0)
    assert all(len(set(row)) == 6 for row in drawn.tolist())
    counts = np.bincount(drawn.ravel(), minlength=12)
    assert (counts[:4] == 0).all()
    np.testing.assert_allclose(counts[4:] / 4000, 6 / 8, atol=0.04)


BROKEN = [
    ("raw_sample.csv", "110,1,1001,430548_1007,1,2", "column clk: 2 must be 0 or 1"),
    ("raw_sample.csv", "110,1,1001,430548_1007,1,1", "column nonclk: 1 must be 1 less clk"),
    ("raw_sample.csv", "110,1,9,430548_1007,1,0", "column adgroup_id: 9 is not in ad_feature.csv"),
    ("raw_sample.csv", "110,soon,1001,430548_1007,1,0", "column time_stamp: must be a whole number of at least 0"),
    ("raw_sample.csv", ",1,1001,430548_1007,1,0", "column user: is empty"),
    ("raw_sample.csv", "110,1,1001,,1,0", "column pid: is empty"),
    ("ad_feature.csv", "1001,1,1,1,1,5.0", "column adgroup_id: 1001 stands twice"),
    ("ad_feature.csv", "2001,1,1,1,acme,5.0", "column brand: must be a whole number of at least 0, not 'acme'"),
    ("ad_feature.csv", "2001,1,1,1,NULL,-5", "column price: must be a number of at least 0, not '-5'"),
    ("ad_feature.csv", "2001,1,1,1,NULL,NULL", "column price: is empty"),
    ("ad_feature.csv", "2001,NULL,1,1,1,5", "column cate_id: is empty"),
    ("user_profile.csv", "110,1,1,1,1,1,1,1,1", "column userid: 110 stands twice"),
    ("user_profile.csv", "210,1,1,f,1,1,1,1,1", "column final_gender_code: must be a whole number of at least 0"),
]


@pytest.mark.parametrize(("name", "line", "problem"), BROKEN)
def test_a_broken_row_is_named(tmp_path: Path, name: str, line: str, problem: str) -> None:
    path = folder(tmp_path / "taobao", impressions())
    lines = (path / name).read_text().splitlines()
    (path / name).write_text("\n".join([*lines, line]) + "\n")
    with pytest.raises(TableError) as caught:
        load(path)
    assert f"{path / name}: line {len(lines) + 1}, " in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: there is no header"),
        ("a,b\n", "holds no rows"),
        ("a,c\n1,2\n", "there is no column 'b'"),
        ("a,b\n1,2\n1,2,3\n", "line 3: has 3 columns, but the header has 2"),
        ("a,b\n1,2\n\n,2\n", "line 4, column a: is empty"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_columns(path, {"a": "integer", "b": "number"})
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    with pytest.raises(TableError, match="cannot be read"):
        read_columns(tmp_path / "none.csv", {"a": "integer"})


def test_files_larger_than_a_block_keep_their_lines_and_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.datasets.csv.reading.BLOCK", 256)
    path = tmp_path / "x.csv.gz"
    rows = [f"{i},{('even', 'odd')[i % 2]} ,{'' if i % 3 else i}" for i in range(500)]
    path.write_bytes(gzip.compress("\n".join([" i,word, third", *rows]).encode()))
    found = read_columns(path, {"i": "integer", "word": "text", "third": "optional integer"})
    np.testing.assert_array_equal(found["i"], np.arange(500))
    assert [found.words["word"][w] for w in found["word"]] == ["even", "odd"] * 250
    np.testing.assert_array_equal(found["third"], np.where(np.arange(500) % 3, -1, np.arange(500)))
    path.write_bytes(gzip.compress("\n".join(["i", *map(str, range(400)), "x", "1"]).encode()))
    with pytest.raises(TableError, match="line 402, column i: must be a whole number of at least 0, not 'x'"):
        read_columns(path, {"i": "integer"})


def test_the_command_writes_a_list_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = folder(tmp_path / "taobao", impressions()), tmp_path / "lists.parquet"
    assert main(["data", "taobao-ad", "--path", str(path), "-o", str(output), "--users", "30", "--quiet"]) == 0
    assert str(output) in capsys.readouterr().out
    assert len({r.user["user"] for r in read_lists(output)}) == 30
    assert read_metadata(output)["source"] == "taobao-ad"
