"""MovieLens: a made-up copy in the original format, cut into sixes as the protocol says."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from models.data.records import ListRecord
from models.datasets import movielens
from models.datasets.table import TableError

USERS, MOVIES = 25, 60
Ratings = list[tuple[int, int, int, int]]


def ratings() -> Ratings:
    """`USERS` users with 11 to 35 ratings; many share a timestamp; the file is not in order of time."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(1, USERS + 1):
        count = 10 + user
        movies = 1 + rng.choice(MOVIES, count, replace=False)
        times = rng.integers(0, 6, count) * 100
        rows += [
            (user, int(m), int(r), int(t)) for m, r, t in zip(movies, rng.integers(1, 6, count), times, strict=True)
        ]
    return rows


def folder(path: Path, rows: Ratings, *, packed: bool = False) -> Path:
    path.mkdir()
    text = "".join("::".join(map(str, row)) + "\n" for row in rows).encode()
    (path / ("ratings.dat.gz" if packed else "ratings.dat")).write_bytes(gzip.compress(text) if packed else text)
    (path / "users.dat").write_text("".join(f"{u}::F::25::{u % 3}::1000{u}\n" for u in range(1, USERS + 1)))
    genres = ("Comedy|Drama", "Film-Noir", "Children's")
    movies = [f"{m}::Amélie {m} ({1950 + m})::{genres[m % 3]}\n" for m in range(1, MOVIES + 1)]
    (path / "movies.dat").write_text("".join(movies), encoding="latin-1")
    return path


def load(path: Path) -> list[ListRecord]:
    return list(movielens.load(path, seed=5).records)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> list[ListRecord]:
    return load(folder(tmp_path_factory.mktemp("ml") / "ml-1m", ratings()))


def of_user(lists: list[ListRecord], user: int) -> list[ListRecord]:
    return [r for r in lists if r.user["user"] == str(user)]


def shown(record: ListRecord) -> list[int]:
    return [int(record.candidates[i].id) for i in record.exposed]


def test_each_users_ratings_are_cut_into_sixes_backward_from_the_end(lists: list[ListRecord]) -> None:
    for user in range(1, USERS + 1):
        mine = [row for row in ratings() if row[0] == user]
        in_time = sorted(mine, key=lambda row: row[3])  # Python's sort is stable: ties stay in file order.
        kept = in_time[len(in_time) % 6 :]
        found = of_user(lists, user)
        assert [m for r in found for m in shown(r)] == [row[1] for row in kept]
        assert [c for r in found for c in r.clicks] == [int(row[2] == 5) for row in kept]
        assert [r.split for r in found] == [*["train"] * len(found), "valid", "test"][-len(found) :]


def test_six_candidates_are_never_rated_by_the_user_and_the_order_is_shuffled(lists: list[ListRecord]) -> None:
    rated = {user: {row[1] for row in ratings() if row[0] == user} for user in range(1, USERS + 1)}
    places = np.zeros(12)
    for record in lists:
        others = {int(c.id) for c in record.candidates} - set(shown(record))
        assert len(record.candidates) == 12
        assert len(others) == 6
        assert not others & rated[int(str(record.user["user"]))]
        places[list(record.exposed)] += 1
    assert places.min() > 0.25 * len(lists)


def test_records_say_what_the_files_say(lists: list[ListRecord]) -> None:
    record = of_user(lists, 7)[0]
    assert record.user == {"user": "7", "gender": "F", "age": "25", "occupation": "1"}
    assert record.purchases is None
    assert record.gmv is None
    candidate = record.candidates[0]
    movie = int(candidate.id)
    assert candidate.features["year"] == 1950 + movie
    assert candidate.features["movie"] == candidate.id
    assert candidate.features["genre_film-noir"] == float(movie % 3 == 1)
    assert sum(k.startswith("genre_") for k in candidate.features) == 18
    assert candidate.price is None
    assert 0 < candidate.scores["ctr"] < 1


def test_a_packed_file_and_the_same_seed_give_the_same_lists(tmp_path: Path, lists: list[ListRecord]) -> None:
    assert load(folder(tmp_path / "packed", ratings(), packed=True)) == lists


def test_no_score_depends_on_a_test_label_nor_on_the_lists_own(tmp_path: Path, lists: list[ListRecord]) -> None:
    train = next(r for r in lists if r.split == "train")
    changed = {(r.user["user"], str(m)) for r in lists if r.split == "test" or r is train for m in shown(r)}
    rows = [(u, m, (1 if r == 5 else 5) if (str(u), str(m)) in changed else r, t) for u, m, r, t in ratings()]
    after = load(folder(tmp_path / "changed", rows))
    again = next(r for r in after if r.request_id == train.request_id)
    assert again.clicks != train.clicks
    assert again.candidates == train.candidates


def test_no_score_depends_on_any_test_label(tmp_path: Path, lists: list[ListRecord]) -> None:
    changed = {(r.user["user"], str(m)) for r in lists if r.split == "test" for m in shown(r)}
    rows = [(u, m, (1 if r == 5 else 5) if (str(u), str(m)) in changed else r, t) for u, m, r, t in ratings()]
    after = load(folder(tmp_path / "changed", rows))
    assert [r.candidates for r in after] == [r.candidates for r in lists]


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("ratings.dat", "1::1::6::0", "column rating: must be a whole number between 1 and 5"),
        ("ratings.dat", "1::1::five::0", "column rating: must be a number"),
        ("ratings.dat", "99::1::5::0", "column user: '99' is not in users.dat"),
        ("ratings.dat", "1::999::5::0", "column movie: '999' is not in movies.dat"),
        ("ratings.dat", "1::1::5", "has 3 columns parted by '::', not 4"),
        ("movies.dat", "61::New (2000)::Nonsense", "column genres: 'Nonsense' is not one of"),
        ("movies.dat", "60::Again (2000)::Comedy", "column movie: '60' stands twice"),
        ("users.dat", "25::F::25::1::x", "column user: '25' stands twice"),
        ("users.dat", "26::::25::1::x", "column gender: is empty"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, name: str, line: str, problem: str) -> None:
    path = folder(tmp_path / "ml", ratings())
    lines = (path / name).read_text(encoding="latin-1").splitlines()
    (path / name).write_text("\n".join([*lines, line]) + "\n", encoding="latin-1")
    with pytest.raises(TableError) as caught:
        load(path)
    assert f"{path / name}: line {len(lines) + 1}" in str(caught.value)
    assert problem in str(caught.value)


def test_a_movie_rated_twice_by_one_user_is_named(tmp_path: Path) -> None:
    rows = ratings()
    with pytest.raises(TableError, match=f"line {len(rows) + 1}, column movie: is rated twice"):
        load(folder(tmp_path / "ml", [*rows, rows[3]]))
