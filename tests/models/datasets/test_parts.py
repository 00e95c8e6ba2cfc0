"""What the adapters share: splits, prior scores that never see their own labels, embeddings, tables of text."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datasets.embeddings import attribute_embeddings
from models.datasets.impressions import group_rows, rank_share, relative
from models.datasets.priors import TEST, FoldCounts, conditional, cross_fit
from models.datasets.splits import bucket, fold_split, share_split
from models.datasets.table import TableError, read_csv, read_delimited


@given(st.text(), st.integers(2, 9), st.integers(0, 5))
def test_each_key_is_test_in_exactly_one_fold(key: str, folds: int, seed: int) -> None:
    sides = [fold_split(key, fold=k, folds=folds, seed=seed) for k in range(folds)]
    assert sides.count("test") == 1


def test_shares_are_about_as_asked_and_purposes_independent() -> None:
    keys = [f"user-{i}" for i in range(4000)]
    shares = [share_split(k, seed=1, valid=0.2, test=0.1) for k in keys]
    assert abs(shares.count("valid") / 4000 - 0.2) < 0.03
    assert abs(shares.count("test") / 4000 - 0.1) < 0.03
    same = np.mean([bucket(k, 5, seed=1, purpose="a") == bucket(k, 5, seed=1, purpose="b") for k in keys])
    assert abs(same - 0.2) < 0.03


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (-1, 5), (0, 1)])
def test_a_fold_that_does_not_exist_is_refused(fold: int, folds: int) -> None:
    with pytest.raises(ValueError, match="--fold"):
        fold_split("key", fold=fold, folds=folds, seed=0)


def _rows(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 600
    fold = rng.integers(-1, 4, n)
    keys = rng.integers(0, 12, n)
    x = rng.normal(size=(n, 2))
    labels = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))).astype(np.int64)
    return fold, keys, x, labels


def _scores(fold: np.ndarray, keys: np.ndarray, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counts = FoldCounts(keys, fold, np.column_stack([np.ones(len(keys)), labels]))

    def features(held_out: int | None) -> np.ndarray:
        return np.column_stack([x, counts.excluding(held_out)])

    return cross_fit(features, labels, fold, seed=0, rounds=20)


@pytest.mark.parametrize("changed", [TEST, 0, 3])
def test_scores_of_a_fold_depend_on_none_of_its_labels(changed: int) -> None:
    fold, keys, x, labels = _rows(0)
    flipped = np.where(fold == changed, 1 - labels, labels)
    before, after = _scores(fold, keys, x, labels), _scores(fold, keys, x, flipped)
    np.testing.assert_array_equal(before[fold == changed], after[fold == changed])
    rest = fold != changed
    if changed == TEST:
        np.testing.assert_array_equal(before[rest], after[rest])
    else:
        assert (before[rest] != after[rest]).any()


def test_scores_are_probabilities_that_learn() -> None:
    fold, keys, x, labels = _rows(1)
    scores = _scores(fold, keys, x, labels)
    assert ((scores > 0) & (scores < 1)).all()
    assert scores[labels == 1].mean() > scores[labels == 0].mean() + 0.05


def test_too_few_lists_for_a_prior_is_an_error() -> None:
    with pytest.raises(ValueError, match="too few lists"):
        cross_fit(lambda _: np.zeros((4, 1)), np.array([1, 0, 0, 0]), np.array([0, 0, 1, 1]), seed=0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 4), st.integers(0, 1)), min_size=1), st.integers(0, 3))
def test_counts_leave_out_the_own_and_the_held_out_fold(rows: list[tuple[int, int, int]], held_out: int) -> None:
    fold, keys, value = (np.array(column) for column in zip((3, 0, 0), *rows, strict=True))
    found = FoldCounts(keys, fold, value[:, None].astype(np.float64)).excluding(held_out)
    for i in range(len(keys)):
        others = [
            j for j in range(len(keys)) if keys[j] == keys[i] and fold[j] not in (TEST, held_out) and fold[j] != fold[i]
        ]
        assert found[i, 0] == sum(value[j] for j in others)


def test_conditional_probability_stays_inside_zero_and_one() -> None:
    ratio = conditional(np.array([0.5, 0.01, 0.0]), np.array([0.2, 0.1, 0.5]))
    np.testing.assert_allclose(ratio, [0.99, 0.1, 0.01])


def test_embeddings_keep_the_cosines_of_the_attributes_and_ignore_rows_that_do_not_fit() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 5))
    fit = np.arange(300) < 250
    numbers = {f"n{i}": values[:, i] for i in range(5)}
    found = attribute_embeddings(numbers, {}, fit)
    standard = np.clip((values - values[fit].mean(axis=0)) / values[fit].std(axis=0), -5, 5)
    np.testing.assert_allclose(found @ found.T, standard @ standard.T, atol=1e-3)
    values[260:] += 100
    moved = attribute_embeddings(numbers, {}, fit)
    np.testing.assert_array_equal(moved[:250], found[:250])


def test_rare_categories_and_missing_numbers_do_not_separate_items() -> None:
    text = ["big"] * 30 + ["other"] * 30 + ["rare-1", "rare-2"]
    numbers = {"n": np.array([1.0, 2.0] * 31), "gap": np.full(62, np.nan)}
    found = attribute_embeddings(numbers, {"c": text}, np.ones(62, bool))
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[30])
    np.testing.assert_allclose(found[60] - found[61], found[0] - found[1], atol=1e-4)


def test_rows_are_grouped_by_first_appearance_and_sorted_by_position() -> None:
    order, starts = group_rows(np.array([0, 1, 0, 1, 0]), np.array([2.0, 9.0, 1.0, 3.0, 3.0]))
    assert order.tolist() == [2, 0, 4, 3, 1]
    assert starts.tolist() == [0, 3, 5]


def test_list_relative_features_look_at_their_own_list_only() -> None:
    values, starts = np.array([1.0, 5.0, 3.0, np.nan, 7.0]), np.array([0, 4, 5])
    np.testing.assert_array_equal(relative(values, starts), [-2.0, 2.0, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(rank_share(values, starts), [0.0, 1.0, 0.5, np.nan, 0.5])


def test_tables_are_read_plain_and_packed(tmp_path: Path) -> None:
    text = 'a,b,c\n1,"x, y",\n2.5,z,NULL\n'
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("t.csv", "t.csv.gz"):
        table = read_csv(tmp_path / name, ("a", "b", "c"))
        assert table.text("b") == ["x, y", "z"]
        assert table.number("a").tolist() == [1.0, 2.5]
        assert np.isnan(table.number("c", optional=True)).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n", "there is no column 'c'"),
        ("a,c\n1,2\n3\n", "line 3: has 1 columns, but the header has 2"),
        ("a,c\n", "holds no rows"),
        ("", "is empty: there is no header"),
        ("a,c\n1,2\nx,2\n", "line 3, column a: must be a number, not 'x'"),
        ("a,c\n1,2\n,2\n", "line 3, column a: must be a number"),
        ("a,c\n1,2\nnan,2\n", "line 3, column a: must be a number"),
        ("a,c\n1,2\n-1,2\n", "line 3, column a: must be a number between 0 and inf"),
        ("a,c\n1,2\n1e999,2\n", "line 3, column a: must be a number"),
    ],
)
def test_a_broken_table_names_file_line_and_column(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_csv(path, ("a", "c")).number("a", low=0)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv: cannot be read"):
        read_csv(tmp_path / "none.csv", ("a",))
    with pytest.raises(TableError, match=r"none\.dat: cannot be read"):
        read_delimited(tmp_path / "none.dat", ("a",), separator="::", encoding="ascii")


@pytest.mark.parametrize("keep", [0, 5, 20, 40])
def test_a_damaged_archive_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.dat.gz"
    packed = gzip.compress(b"1::2\n" * 1000)
    path.write_bytes(packed[:keep] + b"\xff" * (len(packed) - keep))
    with pytest.raises(TableError, match=r"t\.dat\.gz: cannot be read"):
        read_delimited(path, ("a", "b"), separator="::", encoding="ascii")
