"""`listwright data csv`: lists from a log with one row per request and item."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.cli import main
from models.data.list_file import read_lists, read_metadata
from models.data.records import Candidate, ListRecord
from models.datasets.csv.form import CsvChoices, Decimal
from models.datasets.csv_log.columns import Fields
from models.datasets.csv_log.convert import CsvLog, LogOptions
from models.datasets.csv_log.sides import Shares, sides_by_time
from models.datasets.csv_log.tally import Tally

LOG = """\
request_id,time,user_id,device,item_id,position,clicked,purchased,price,pctr,brand,rating,code,note
r1,2024-05-01 10:00:00,u1,mobile,A,1,0,0,9.5,0.1,x,4.5,007,
r1,2024-05-01 10:00:00,u1,mobile,C,,,,5,0.2,,3,011,
r2,2024-05-02 10:00:00,u2,desktop,B,1,0,0,20,0.3,y,4,010,hi
r1,2024-05-01 10:00:00,u1,mobile,B,2,1,1,20,,y,,010,
"""
FIELDS = (
    *("--scores", "ctr=pctr", "--item-features", "brand,rating,code"),
    *("--user-features", "device", "--context-features", "phone=device"),
)
Row = Mapping[str, Any]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def convert(path: Path, *options: str) -> list[ListRecord]:
    output = path.with_suffix(".parquet")
    assert main(["data", "csv", str(path), "-o", str(output), "--quiet", *options]) == 0
    return list(read_lists(output))


def lists_of(tmp_path: Path, rows: list[dict[str, Any]], options: LogOptions) -> tuple[list[ListRecord], Tally]:
    tally = CsvLog([write(tmp_path / "log.csv", rows)], options).convert(tmp_path / "lists", quiet=True)
    return list(read_lists(tmp_path / "lists")), tally


def test_a_log_becomes_lists_with_the_items_shown_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    first, second = convert(path, *FIELDS)
    assert first == ListRecord(
        request_id="r1",
        candidates=(
            Candidate("A", {"ctr": 0.1}, 9.5, {"brand": "x", "rating": 4.5, "code": "007"}),
            Candidate("B", {}, 20.0, {"brand": "y", "code": "010"}),
            Candidate("C", {"ctr": 0.2}, 5.0, {"rating": 3.0, "code": "011"}),
        ),
        exposed=(0, 1),
        clicks=(0, 1),
        purchases=(0, 1),
        gmv=(0.0, 20.0),
        user={"device": "mobile"},
        context={"phone": "mobile"},
    )
    assert (second.request_id, second.exposed, second.gmv) == ("r2", (0,), (0.0,))
    told = capsys.readouterr()
    assert "request = request_id, item = item_id" in told.out
    assert "ignored: note (use them with" in told.out
    assert "item feature code: text" in told.out
    assert "item feature rating: number" in told.out
    assert "2 lists (2 train, 0 valid, 0 test)" in told.out
    assert told.err == "warning: no list is valid or test\n"
    assert read_metadata(tmp_path / "log.parquet")["files"] == ["log.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "log.parquet"]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, ListRecord]]:
    """Rows in any order, and the lists that they are."""
    words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=6)
    number = st.floats(0, 1e6, allow_subnormal=False)
    rows, expected = [], {}
    for request in draw(st.lists(words, min_size=1, max_size=4, unique=True)):
        device, items = draw(words), draw(st.lists(words, min_size=1, max_size=5, unique=True))
        shown = draw(st.integers(0, len(items)))
        places = sorted(draw(st.sets(st.integers(0, 99), min_size=shown, max_size=shown)))
        candidates = []
        clicks = draw(st.lists(st.integers(0, 1), min_size=shown, max_size=shown))
        purchases = draw(st.lists(st.integers(0, 1), min_size=shown, max_size=shown))
        for i, item in enumerate(items):
            price, brand, score = draw(st.none() | number), draw(st.none() | words), draw(number)
            features = {} if brand is None else {"brand": brand}
            candidates.append(Candidate(item, {"s": score}, price, features))
            labels = (places[i], clicks[i], purchases[i]) if i < shown else ("", "", "")
            rows.append(
                {"request": request, "item": item, **dict(zip(("position", "click", "purchase"), labels, strict=True)),
                 "price": "" if price is None else repr(price), "s": repr(score), "brand": brand or "",
                 "device": device}
            )  # fmt: skip
        unknown = any(b and c.price is None for b, c in zip(purchases, candidates, strict=False))
        gmv = tuple(float(c.price or 0) * b for b, c in zip(purchases, candidates, strict=False))
        expected[request] = ListRecord(
            request, tuple(candidates), tuple(range(shown)), tuple(clicks), tuple(purchases),
            None if unknown else gmv, {}, {"device": device},
        )  # fmt: skip
    return draw(st.permutations(rows)), expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs())
def test_any_log_in_any_order_gives_its_lists(
    tmp_path: Path, log: tuple[list[dict[str, Any]], dict[str, ListRecord]]
) -> None:
    rows, expected = log
    fields = Fields(scores={"s": "s"}, item={"brand": "brand"}, context={"device": "device"})
    text = frozenset({"request", "item", "brand", "device"})
    found, _ = lists_of(tmp_path, rows, LogOptions(fields=fields, text=text, missing=(), shares=Shares(0, 0)))
    assert {r.request_id for r in found} == set(expected)
    for record in found:
        asked = expected[record.request_id]
        shown = len(asked.exposed)
        assert record.candidates[:shown] == asked.candidates[:shown]
        assert set(map(repr, record.candidates[shown:])) == set(map(repr, asked.candidates[shown:]))
        assert (record.exposed, record.clicks, record.purchases) == (asked.exposed, asked.clicks, asked.purchases)
        assert (record.gmv, record.context) == (asked.gmv, asked.context)


def simple_rows(requests: int, items: int = 3, **columns: Any) -> list[dict[str, Any]]:
    return [
        {"request": f"r{r}", "item": f"i{i}", "position": i + 1, "click": int(i == r % items)}
        | {name: make(r, i) for name, make in columns.items()}
        for r in range(requests)
        for i in range(items)
    ]


def test_a_log_in_many_parts_gives_the_same_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = simple_rows(200, user=lambda r, _: f"u{r // 3}", time=lambda r, _: r, f=lambda r, i: r * i)
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    options = LogOptions(fields=Fields(item={"f": "f"}))
    one, _ = lists_of(tmp_path, rows, options)
    monkeypatch.setattr("models.datasets.csv_log.parts.PART_BYTES", 700)
    monkeypatch.setattr("models.datasets.csv.reading.BLOCK", 512)
    many, _ = lists_of(tmp_path, rows, options)
    assert [r.request_id for r in many] != [r.request_id for r in one]
    assert sorted(many, key=lambda r: r.request_id) == sorted(one, key=lambda r: r.request_id)


def test_several_files_are_one_log(tmp_path: Path) -> None:
    rows = simple_rows(4)
    first = write(tmp_path / "a.csv", rows[:7])
    second = tmp_path / "b.csv"
    order = ("click", "item", "request", "position")
    second.write_text("\n".join([";".join(order), *(";".join(str(row[name]) for name in order) for row in rows[7:])]))
    assert main(["data", "csv", str(first), str(second), "-o", str(tmp_path / "l"), "--quiet"]) == 0
    assert [[c.id for c in r.candidates] for r in read_lists(tmp_path / "l")] == [["i0", "i1", "i2"]] * 4


def test_the_end_of_the_log_is_test_and_no_user_is_on_both_sides(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    start = {u: int(rng.integers(1000)) for u in range(60)}
    rows = simple_rows(300, user=lambda r, _: f"u{r % 60}", time=lambda r, _: start[r % 60] + r // 60)
    records, tally = lists_of(tmp_path, rows, LogOptions())
    users: dict[str, set[str]] = {}
    for record in records:
        users.setdefault(f"u{int(record.request_id[1:]) % 60}", set()).add(record.split)
    assert all(len(splits) == 1 for splits in users.values())
    assert tally.splits == {"train": 240, "valid": 30, "test": 30}
    last = {side: [start[int(u[1:])] for u, s in users.items() if s == {side}] for side in ("train", "valid", "test")}
    assert max(last["train"]) <= min(last["valid"])
    assert max(last["valid"]) <= min(last["test"])


def test_a_session_is_the_unit_where_there_is_one(tmp_path: Path) -> None:
    rows = simple_rows(100, user=lambda *_: "u", session=lambda r, _: f"s{r // 2}", time=lambda r, _: r)
    records, tally = lists_of(tmp_path, rows, LogOptions())
    assert tally.splits == {"train": 80, "valid": 10, "test": 10}
    assert {r.request_id for r in records if r.split == "test"} == {f"r{i}" for i in range(90, 100)}


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01", "2024-01-02 00:00:00", "2024-01-02T00:00:01", "2024-01-02 00:00:01.5"],
        [
            "2024-01-01T00:30:00+01:00",
            "2024-01-01T00:00:00Z",
            "2024-01-01 00:00:00.123456789 UTC",
            "2024-01-01T01:00:00",
        ],
        ["1e3", "1704067200", "1704067200.5", "1.8e9"],
        ["9", "10", "11", "100"],
    ],
)
def test_times_are_iso_or_numbers(tmp_path: Path, times: list[str]) -> None:
    order = [2, 0, 3, 1]
    rows = [{"request": i, "item": "a", "position": 1, "click": 1, "time": times[i]} for i in order]
    records, _ = lists_of(tmp_path, rows, LogOptions(shares=Shares(valid=0.25, test=0.25)))
    assert {r.request_id: r.split for r in records} == {"0": "train", "1": "train", "2": "valid", "3": "test"}


def test_shares_of_units_follow_the_middle_of_their_lists() -> None:
    unit, time = np.array([0, 0, 0, 1, 2]), np.array([1.0, 2.0, 9.0, 8.0, 7.0])
    # In order of their last lists: unit 2, unit 1, then unit 0 with three lists of five.
    assert sides_by_time(unit, time, Shares(0.1, 0.1)).tolist() == [0, 0, 0]
    assert sides_by_time(unit, time, Shares(0.2, 0.2)).tolist() == [1, 0, 0]
    assert sides_by_time(unit, time, Shares(0.2, 0.4)).tolist() == [2, 0, 0]
    assert sides_by_time(unit, time, Shares(0.3, 0.6)).tolist() == [2, 1, 0]


def test_without_times_users_are_split_by_hash(tmp_path: Path) -> None:
    rows = simple_rows(600, user=lambda r, _: f"u{r % 200}" if r else "")
    records, tally = lists_of(tmp_path, rows, LogOptions(shares=Shares(0.2, 0.2)))
    assert 60 < tally.splits["test"] < 180
    sides = {r.request_id: r.split for r in records}
    assert all(sides[f"r{r}"] == sides[f"r{r + 200}"] == sides[f"r{r + 400}"] for r in range(1, 200))


def test_a_split_column_is_kept_and_a_user_on_two_sides_is_said(tmp_path: Path) -> None:
    rows = simple_rows(6, user=lambda r, _: f"u{r // 2}", split=lambda r, _: ["train", "Test", "train"][r % 3])
    log = CsvLog([write(tmp_path / "log.csv", rows)], LogOptions())
    tally = log.convert(tmp_path / "lists", quiet=True)
    assert tally.splits == {"train": 4, "test": 2}
    assert log.told.warnings[-2:] == [
        "2 users have lists in more than one split, so the measures will look too good",
        "no list is valid",
    ]


def test_without_positions_the_rows_are_the_order_shown(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "position"} for row in simple_rows(3)]
    log = CsvLog([write(tmp_path / "log.csv", [*rows[::2], *rows[1::2]])], LogOptions())
    log.convert(tmp_path / "lists", quiet=True)
    assert [c.id for c in next(read_lists(tmp_path / "lists")).candidates] == ["i0", "i2", "i1"]
    assert any("every row counts as shown, in the order of the rows" in w for w in log.told.warnings)


def test_without_clicks_nothing_counts_as_shown(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "click"} for row in simple_rows(3)]
    log = CsvLog([write(tmp_path / "log.csv", rows)], LogOptions())
    log.convert(tmp_path / "lists", quiet=True)
    assert all(r.exposed == () and r.purchases is None for r in read_lists(tmp_path / "lists"))
    assert any("a model cannot learn from it" in w for w in log.told.warnings)


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (["1", "2", ""], (), [1, 2, None]),
        (["1", "2.5", ""], (), [1.0, 2.5, None]),
        (["1", "1e3", "-.5"], (), [1.0, 1000.0, -0.5]),
        (["007", "12", "13"], (), ["007", "12", "13"]),
        (["1", "x", "2"], (), ["1", "x", "2"]),
        (["123456789012345678", "1", "2"], (), ["123456789012345678", "1", "2"]),
        (["True", "FALSE", "false"], (), [True, False, False]),
        (["true", "no", "false"], (), ["true", "no", "false"]),
        (["1", "2", ""], ("--text", "f"), ["1", "2", None]),
        (["1", "NULL", "3"], (), [1, None, 3]),
        (["1", "NaN", "n/a"], ("--missing", "NaN", "--missing", "n/a"), [1, None, None]),
        (["1,5", "2", ""], ("--decimal", ","), [1.5, 2.0, None]),
        (["", "", ""], (), [None, None, None]),
    ],
)
def test_a_feature_is_a_number_only_if_every_cell_is_one(
    tmp_path: Path, cells: list[str], options: tuple[str, ...], expected: list[Any]
) -> None:
    path = write(tmp_path / "log.csv", simple_rows(1, f=lambda _, i: cells[i]))
    (record,) = convert(path, "--item-features", "f", *options)
    found = [c.features.get("f") for c in record.candidates]
    assert found == expected
    assert [type(v) for v in found] == [type(v) for v in expected]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["1", "NaN", "2"], "line 3, column f: 'NaN' stands among numbers: say --missing NaN, or --text f"),
        (["1", r"\N", "2"], r"line 3, column f: '\\N' stands among numbers: say --missing '\N', or --text f"),
        (["1,234", "5", "2"], "line 2, column f: '1,234' is no plain number; write it without separators of thousands"),
        (["5", "1,234.5", "2"], "line 3, column f: '1,234.5' is no plain number; write it without separators"),
        (["1", "2", "inf"], "line 4, column f: 'inf' stands among numbers"),
        (["1", "1,5", "2"], "line 3, column f: '1,5' has a decimal comma: say --decimal , or --text f"),
        (["1", "1e999", "2"], "line 3, column f: must be a finite number, not '1e999'"),
    ],
)
def test_what_would_silently_be_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cells: list[str], problem: str
) -> None:
    path = write(tmp_path / "log.csv", simple_rows(1, f=lambda _, i: cells[i]))
    assert main(["data", "csv", str(path), "--item-features", "f", "-o", str(tmp_path / "l"), "--quiet"]) == 2
    assert f"{path}: {problem}" in capsys.readouterr().err


def test_a_column_that_is_text_for_a_few_cells_is_said(tmp_path: Path) -> None:
    rows = simple_rows(5, age=lambda r, _: "unknown" if r == 3 else r, g=lambda r, _: f"0{r}" if r > 3 else r)
    fields = Fields(user={"age": "age"}, item={"g": "g"})
    log = CsvLog([write(tmp_path / "log.csv", rows)], LogOptions(fields=fields))
    log.convert(tmp_path / "lists", quiet=True)
    said = "column age is text, since 3 of 15 cells are no plain number, such as 'unknown' (log.csv line 11)"
    assert said in log.told.warnings
    assert (
        "column g is text, since 3 of 15 cells are no plain number, such as '04' (log.csv line 14)" in log.told.warnings
    )


@pytest.mark.parametrize(
    ("cells", "decimal", "said"),
    [
        (["12", "1.234", "980"], ".", True),
        (["12", "1.234", "980.5"], ".", False),
        (["12.000", "1.234", "980.000"], ".", False),
        (["12", "0.234", "980"], ".", False),
        (["12", "1,234", "980"], ",", True),
    ],
)
def test_marks_that_may_separate_thousands_are_said(
    tmp_path: Path, cells: list[str], decimal: Decimal, said: bool
) -> None:
    log = write(tmp_path / "log.csv", simple_rows(1, price=lambda _, i: cells[i], f=lambda _, i: cells[i]))
    opened = CsvLog([log], LogOptions(fields=Fields(item={"f": "f"}), form=CsvChoices(decimal=decimal)))
    opened.convert(tmp_path / "lists", quiet=True)
    for column in ("price", "f"):
        warning = f"column {column}: {cells[1]!r} (log.csv line 3) is read with a fraction"
        assert any(text.startswith(warning) for text in opened.told.warnings) is said


def test_ids_written_as_floats_are_whole_and_said(tmp_path: Path) -> None:
    rows = [{**row, "item": f"{i}.0", "user": "3.0"} for i, row in enumerate(simple_rows(1))]
    rows[2]["item"] = "33"
    log = CsvLog([write(tmp_path / "log.csv", rows)], LogOptions())
    log.convert(tmp_path / "lists", quiet=True)
    (record,) = read_lists(tmp_path / "lists")
    assert [c.id for c in record.candidates] == ["0", "1", "33"]
    assert "column item: whole numbers written as '0.0' are read as '0'" in log.told.facts
    rows[1]["item"] = "v1.0"
    records, _ = lists_of(tmp_path, rows, LogOptions())
    assert [c.id for c in records[0].candidates] == ["0.0", "v1.0", "33"]


def test_gmv_has_a_column_of_its_own_or_is_the_price_of_what_was_bought(tmp_path: Path) -> None:
    rows = simple_rows(
        1, purchase=lambda _, i: int(i < 2), price=lambda _, i: 10 * (i + 1), gmv=lambda _, i: i or "2.5"
    )
    rows[2]["gmv"] = ""
    (written,), _ = lists_of(tmp_path, rows, LogOptions())
    (priced,), _ = lists_of(tmp_path, rows, LogOptions(roles={"gmv": ""}))
    assert (written.gmv, priced.gmv) == ((2.5, 1.0, 0.0), (10.0, 20.0, 0.0))
    rows[0]["price"] = ""
    (unknown,), tally = lists_of(tmp_path, rows, LogOptions(roles={"gmv": ""}))
    assert unknown.gmv is None
    assert unknown.purchases == (1, 1, 0)
    assert "in 1 of 1 lists a bought item has no price: their GMV is not recorded" in tally.warnings()


def test_a_gap_in_positions_is_said(tmp_path: Path) -> None:
    rows = [row for row in simple_rows(4) if (row["request"], row["item"]) != ("r1", "i1")]
    _, tally = lists_of(tmp_path, rows, LogOptions())
    assert "in 1 of 4 lists the positions leave one out: a row may be missing" in tally.warnings()
