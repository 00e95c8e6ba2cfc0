"""Expedia and trivago: made-up files in the original formats, and the real ones where they lie."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.data.records import ListRecord
from models.datasets import expedia, trivago
from models.datasets.table import TableError

DATA = Path(__file__).parents[4] / "shared" / "data"
Rows = list[dict[str, str]]
LISTS, SHOWN = 90, 8


def expedia_rows() -> Rows:
    rng = np.random.default_rng(0)
    rows = []
    for search in range(LISTS):
        booked = int(rng.integers(SHOWN))
        for position in range(1, SHOWN + 1):
            row = dict.fromkeys(expedia._COLUMNS, "") | {
                "srch_id": str(search), "date_time": "2013-01-01 00:00:00", "site_id": "5",
                "visitor_location_country_id": "219", "prop_country_id": str(100 + search % 2),
                "prop_id": str(rng.integers(10**6)), "prop_starrating": str(rng.integers(0, 6)),
                "prop_review_score": "4.0", "prop_brand_bool": "1", "prop_location_score1": "2.5",
                "prop_log_historical_price": "0.0", "position": str(position),
                "price_usd": f"{rng.uniform(50, 300):.2f}",
                "promotion_flag": "0", "srch_destination_id": "8192", "srch_length_of_stay": "3",
                "srch_booking_window": "10", "srch_adults_count": "2", "srch_children_count": "0",
                "srch_room_count": "2", "srch_saturday_night_bool": "1", "random_bool": str(int(search % 3 == 0)),
                "comp1_rate": "-1", "comp1_inv": "0", "comp1_rate_percent_diff": "10", "comp2_rate": "1",
                "comp2_inv": "1", "click_bool": str(int(position - 1 == booked)),
                "booking_bool": str(int(position - 1 == booked and search % 2 == 0)),
            }  # fmt: skip
            row["gross_bookings_usd"] = "777.5" if row["booking_bool"] == "1" else ""
            rows.append(row)
    return rows


def trivago_rows() -> Rows:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(LISTS):
        clicked = int(rng.integers(SHOWN))
        items = rng.choice(60, SHOWN, replace=False)
        rows += [
            {
                "list_id": str(number), "user_id": f"u{number // 3}", "step": "4", "platform": "AT",
                "city": "Graz, Austria",
                "device": "mobile", "current_filters": "Sort by Price|WiFi", "position": str(position),
                "item_id": str(items[position - 1]), "price": str(rng.integers(40, 200)),
                "clickouts": "2" if position - 1 == clicked else "0",
            }
            for position in range(1, SHOWN + 1)
        ]  # fmt: skip
    return rows


def write(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def expedia_lists(path: Path, *, gmv: expedia.Gmv = "stay") -> list[ListRecord]:
    return list(expedia.load(path, fold=1, folds=4, seed=3, gmv=gmv).records)


def trivago_lists(path: Path) -> list[ListRecord]:
    return list(trivago.load(path, fold=1, folds=4, seed=3).records)


def test_expedia_rows_become_lists_in_position_order(tmp_path: Path) -> None:
    rows = expedia_rows()
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    lists = {r.request_id: r for r in expedia_lists(write(tmp_path / "e.csv", shuffled))}
    assert len(lists) == LISTS
    for search in (0, 31):
        shown = rows[search * SHOWN : (search + 1) * SHOWN]
        record = lists[str(search)]
        assert [c.id for c in record.candidates] == [r["prop_id"] for r in shown]
        assert record.exposed == tuple(range(SHOWN))
        assert record.clicks == tuple(int(r["click_bool"]) for r in shown)
        assert record.purchases == tuple(int(r["booking_bool"]) for r in shown)
        stay = [round(float(r["price_usd"]) * 3 * 2, 2) for r in shown]
        assert [c.price for c in record.candidates] == stay
        assert record.gmv == tuple(p * b for p, b in zip(stay, record.purchases, strict=True))


def test_expedia_features_hold_neither_position_nor_random_order_nor_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", expedia_rows())
    source = expedia.load(path, fold=0, folds=4, seed=0)
    record = next(source.records)
    names = {*record.user, *record.context, *record.candidates[0].features, *record.candidates[0].scores}
    assert not [n for n in names if any(word in n for word in ("position", "random", "click", "book", "gross"))]
    assert source.metadata["random_order"] == [str(i) for i in range(0, LISTS, 3)]
    assert record.candidates[0].features["competitors_percent"] == -5.0
    assert record.candidates[0].features["competitors_sold_out"] == 1.0
    assert "past_stars" not in record.user


def test_expedia_scores_do_not_change_with_position_or_random_order(tmp_path: Path) -> None:
    rows = expedia_rows()
    before = expedia_lists(write(tmp_path / "a.csv", rows))
    for row in rows:
        row |= {"random_bool": "1", "position": str(2 * int(row["position"]))}
    after = expedia_lists(write(tmp_path / "b.csv", rows))
    assert before == after


def test_expedia_can_test_on_random_order_and_train_on_the_rankers(tmp_path: Path) -> None:
    path, out = write(tmp_path / "e.csv", expedia_rows()), tmp_path / "e.parquet"
    assert main(["data", "expedia", "--path", str(path), "--randomised-test", "--quiet", "-o", str(out)]) == 0
    lists, metadata = list(read_lists(out)), read_metadata(out)
    random = [r.request_id for r in lists if int(r.request_id) % 3 == 0]
    assert metadata["random_order"] == random
    assert [r.request_id for r in lists if r.split == "test"] == random
    assert {r.split for r in lists} == {"train", "valid", "test"}
    assert "random order are test" in metadata["split"]
    assert "fold" not in metadata

    # Nothing of a test list's outcome reaches the scores, its own or those of others.
    rows = expedia_rows()
    for row in rows:
        if row["random_bool"] == "1":
            row["click_bool"], row["booking_bool"] = str(1 - int(row["click_bool"])), "0"
    changed = expedia.load(write(tmp_path / "f.csv", rows), fold=0, folds=4, seed=0, randomised_test=True)
    assert [r.candidates for r in changed.records] == [r.candidates for r in lists]


@pytest.mark.parametrize(("flag", "count"), [("0", 0), ("1", LISTS)])
def test_expedia_needs_lists_of_both_kinds_to_test_on_random_order(tmp_path: Path, flag: str, count: int) -> None:
    rows = [row | {"random_bool": flag} for row in expedia_rows()]
    with pytest.raises(ValueError, match=f"--randomised-test: {count} of {LISTS} searches"):
        expedia.load(write(tmp_path / "e.csv", rows), fold=0, folds=4, seed=0, randomised_test=True)


def test_expedia_gmv_can_be_the_gross_booking(tmp_path: Path) -> None:
    lists = expedia_lists(write(tmp_path / "e.csv", expedia_rows()), gmv="gross")
    assert {g for r in lists for g in r.gmv or ()} == {0.0, 777.5}


def test_expedia_cuts_prices_that_cannot_be(tmp_path: Path) -> None:
    rows = expedia_rows()
    rows[0]["price_usd"] = "19726328"
    assert expedia_lists(write(tmp_path / "e.csv", rows))[0].candidates[0].price == expedia.MAX_NIGHTLY * 6


@pytest.mark.parametrize(
    ("make", "load", "clicked"),
    [(expedia_rows, expedia_lists, "click_bool"), (trivago_rows, trivago_lists, "clickouts")],
)
def test_scores_and_features_of_a_test_list_and_of_all_others_ignore_test_labels(
    tmp_path: Path, make: Callable[[], Rows], load: Callable[[Path], list[ListRecord]], clicked: str
) -> None:
    rows = make()
    before = load(write(tmp_path / "a.csv", rows))
    sides = {r.request_id: r.split for r in before}
    key = "srch_id" if "srch_id" in rows[0] else "list_id"
    for i, row in enumerate(rows):
        if sides[row[key]] == "test":
            row[clicked] = str(int(i % SHOWN == 0))
    after = load(write(tmp_path / "b.csv", rows))
    assert [r.candidates for r in before] == [r.candidates for r in after]
    assert [r.clicks for r in before] != [r.clicks for r in after]


@pytest.mark.parametrize(
    ("make", "load", "clicked"),
    [(expedia_rows, expedia_lists, "click_bool"), (trivago_rows, trivago_lists, "clickouts")],
)
def test_what_a_training_list_says_of_items_ignores_its_own_labels(
    tmp_path: Path, make: Callable[[], Rows], load: Callable[[Path], list[ListRecord]], clicked: str
) -> None:
    rows = make()
    before = load(write(tmp_path / "a.csv", rows))
    place = next(i for i, r in enumerate(before) if r.split == "train")
    for i in range(place * SHOWN, (place + 1) * SHOWN):
        rows[i][clicked] = str(int(i % SHOWN == 0))
    after = load(write(tmp_path / "b.csv", rows))
    for old, new in zip(before[place].candidates, after[place].candidates, strict=True):
        assert old.scores["ctr"] == new.scores["ctr"]
        assert old.features == new.features


def test_trivago_lists_have_clicks_only_and_are_split_by_user(tmp_path: Path) -> None:
    rows = trivago_rows()
    lists = trivago_lists(write(tmp_path / "t.csv", rows))
    assert [sum(r.clicks) for r in lists] == [1] * LISTS
    assert all(r.purchases is None and r.gmv is None for r in lists)
    assert all(len({lists[u * 3 + i].split for i in range(3)}) == 1 for u in range(LISTS // 3))
    assert lists[0].context["filters"] == 2.0
    assert lists[0].context["sorted_by_price"] == 1.0
    assert set(lists[0].candidates[0].scores) == {"ctr"}


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("price_usd", "cheap", "must be a number, not 'cheap'"),
        ("price_usd", "-3", "must be a number between 0 and inf"),
        ("position", "0", "must be a whole number between 1"),
        ("click_bool", "2", "must be a whole number between 0 and 1"),
        ("srch_id", "", "is empty"),
        ("srch_length_of_stay", "0", "must be a whole number between 1"),
        ("comp3_rate", "?", "must be a number"),
    ],
)
def test_a_broken_expedia_row_is_named_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: str, problem: str
) -> None:
    rows = expedia_rows()
    rows[40][column] = value
    path = write(tmp_path / "e.csv", rows)
    assert main(["data", "expedia", "--path", str(path), "-o", str(tmp_path / "out.parquet")]) == 2
    message = capsys.readouterr().err
    assert f"{path}: line 42, column {column}: {problem}" in message
    assert [p.name for p in tmp_path.iterdir()] == ["e.csv"]


def test_a_hotel_twice_in_a_list_is_named(tmp_path: Path) -> None:
    rows = trivago_rows()
    rows[10]["item_id"] = rows[9]["item_id"]
    with pytest.raises(TableError, match=r"line 12, column item_id: .* stands twice in one list"):
        trivago_lists(write(tmp_path / "t.csv", rows))


@pytest.mark.parametrize("source", ["expedia", "trivago", "movielens"])
def test_a_missing_source_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    missing = tmp_path / "missing"
    assert main(["data", source, "--path", str(missing), "-o", str(tmp_path / "out.parquet")]) == 2
    assert str(missing) in capsys.readouterr().err


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "comp8_inv"} for row in expedia_rows()]
    with pytest.raises(TableError, match="there is no column 'comp8_inv'"):
        expedia_lists(write(tmp_path / "e.csv", rows))


@pytest.mark.long
@pytest.mark.skipif(not DATA.is_dir(), reason="the hotel logs are not part of the repository; put them in shared/data")
def test_the_real_expedia_lists_hold_what_their_csv_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = DATA / "expedia" / "lists.csv.gz", tmp_path / "e.parquet"
    assert main(["data", "expedia", "--path", str(path), "--fold", "2", "--quiet", "-o", str(out)]) == 0
    assert "1053 lists" in capsys.readouterr().out
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    lists = list(read_lists(out))
    assert sum(len(r.candidates) for r in lists) == len(rows)
    assert max(len(r.candidates) for r in lists) <= 38
    assert sum(sum(r.clicks) for r in lists) == sum(r["click_bool"] == "1" for r in rows)
    assert sum(sum(r.purchases or ()) for r in lists) == sum(r["booking_bool"] == "1" for r in rows)
    random = {r["srch_id"] for r in rows if r["random_bool"] == "1"}
    assert set(read_metadata(out)["random_order"]) == random
    assert 0.15 < np.mean([r.split == "test" for r in lists]) < 0.25
