"""Convert MovieLens 1M to lists of six (`sixes.py`), as DeGRe's public table does.

It reads `ratings.dat[.gz]`, `users.dat` and `movies.dat`. A rating of 5 is a click; unseen movies are those that the
user never rated, drawn with the seed. There are no prices and no purchases.

The prior ``ctr`` is P(rating 5 | rated). It sees the user's *earlier* lists and the movies' ratings by other users,
never the list it scores and never a test list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.records import Candidate
from models.datasets.embeddings import attribute_embeddings, describe_embedding
from models.datasets.priors import DESCRIPTION
from models.datasets.sixes import LENGTH, RequestParts, Sixes, cut_sixes
from models.datasets.source import ListSource
from models.datasets.table import Table, TableError, read_delimited

POSITIVE: Final = 5
GENRES: Final = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_SMOOTHING: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Movies:
    """Hold the catalogue: `genres` [M, 18] of 0 and 1, `year` [M], NaN if unknown."""

    ids: list[str]
    genres: Floats
    year: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Hold all n ratings by user and time; `sizes` [U] per user, `movie` [n] places in `Movies`."""

    sizes: Ints
    movie: Ints
    click: Ints


def load(folder: Path, *, seed: int) -> ListSource:
    """Load the sixes as list records. Raises `TableError` for a missing file or broken row."""
    movies = read_movies(folder / "movies.dat")
    users = read_users(folder / "users.dat")
    ratings = read_ratings(_ratings_file(folder), users, movies)
    sixes = cut_sixes(ratings.sizes, ratings.movie, ratings.click, partial(draw_unrated, ratings, movies, seed=seed))
    scores = prior_scores(sixes, ratings, list(users), movies, seed=seed)
    numbers = {"year": movies.year, **dict(zip(GENRES, movies.genres.T, strict=True))}
    embeddings = attribute_embeddings(numbers, {}, np.ones(len(movies.ids), bool))
    metadata = {
        "source": "movielens",
        "seed": seed,
        "split": "per user: the last six is test, the six before it valid, the rest train",
        "clicks": f"rating of {POSITIVE}",
        "candidates": f"{LENGTH} rated (exposed) and {LENGTH} that the user never rated (unlabelled), shuffled",
        "prior": f"{DESCRIPTION}; folds by user; P(rating 5 | rated) from earlier lists and other users' ratings",
        "embedding": describe_embedding(["year", "18 genres"], "all movies"),
        "note": "timestamps order ratings only approximately",
    }
    vectors = [tuple(row) for row in embeddings.tolist()]
    features = [_movie_features(movies, m) for m in range(len(movies.ids))]
    people = list(users.items())

    def candidate(m: int, score: float) -> Candidate:
        return Candidate(movies.ids[m], {"ctr": score}, None, features[m], vectors[m])

    def request(t: int) -> RequestParts:
        user, fields = people[sixes.user[t]]
        return f"u{user}-{sixes.start[t]}", fields, {}

    return ListSource(sixes.records(scores, candidate, request, seed=seed), len(sixes.user), metadata)


def read_movies(path: Path) -> Movies:
    """Read ``id::title (year)::genre|genre``. Raises `TableError`."""
    table = _read(path, "movie", "title", "genres")
    titles, texts = table.key("title"), [text.split("|") for text in table.key("genres")]
    for row, names in enumerate(texts):
        if unknown := [name for name in names if name not in GENRES]:
            raise table.error(row, "genres", f"{unknown[0]!r} is not one of MovieLens 1M's genres")
    genres = np.array([[name in names for name in GENRES] for names in texts], np.float64)
    years = [re.search(r"\((\d{4})\)\s*$", title) for title in titles]
    return Movies(table.ids("movie"), genres, np.array([float(y[1]) if y else np.nan for y in years]))


def read_users(path: Path) -> dict[str, dict[str, str]]:
    """Read ``id::gender::age::occupation::zip`` as the fields of each user. Raises `TableError`."""
    table = _read(path, "user", "gender", "age", "occupation", "zip")
    columns = {name: table.key(name) for name in ("user", "gender", "age", "occupation")}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return dict(zip(table.ids("user"), rows, strict=True))


def read_ratings(path: Path, users: Collection[str], movies: Movies) -> Ratings:
    """Read ``user::movie::rating::timestamp``. Raises `TableError`."""
    table = _read(path, "user", "movie", "rating", "timestamp")
    user, movie = _numbered(table, "user", users), _numbered(table, "movie", movies.ids)
    click = (table.number("rating", low=1, high=5, whole=True) == POSITIVE).astype(np.int64)
    time = table.number("timestamp", low=0)
    pairs = user * len(movies.ids) + movie
    first = np.unique(pairs, return_index=True)[1]
    if len(first) < len(pairs):
        again = np.setdiff1d(np.arange(len(pairs)), first)[0]
        raise table.error(int(again), "movie", "is rated twice by one user")
    order = np.lexsort((time, user))  # Stable, so ties keep the file's order.
    sizes = np.bincount(user, minlength=len(users))
    if sizes.max(initial=0) < LENGTH:
        raise TableError(f"{path}: no user has {LENGTH} ratings")
    return Ratings(sizes, movie[order], click[order])


def draw_unrated(ratings: Ratings, movies: Movies, user: Ints, *, seed: int) -> Ints:
    """Draw `LENGTH` movies per list that its user never rated, [T, 6].

    `user` [T] rises. Raises `ValueError` if a user has rated nearly all.
    """
    ends = np.cumsum(ratings.sizes)
    drawn = []
    for u, lists in zip(*np.unique(user, return_counts=True), strict=True):
        pool = np.setdiff1d(np.arange(len(movies.ids)), ratings.movie[ends[u] - ratings.sizes[u] : ends[u]])
        if len(pool) < LENGTH:
            raise ValueError(f"a user has rated all but {len(pool)} movies, so {LENGTH} unrated ones cannot be drawn")
        # A generator per user, so that a user's lists do not depend on other users.
        rng = np.random.default_rng([seed, int(u)])
        drawn += [pool[rng.choice(len(pool), LENGTH, replace=False, shuffle=False)] for _ in range(lists)]
    return np.array(drawn, np.int64)


def prior_scores(sixes: Sixes, ratings: Ratings, users: Sequence[str], movies: Movies, *, seed: int) -> Floats:
    """Predict P(rating 5) of the rated and then the unrated movies, [T, 12]."""
    movie = sixes.candidates
    steady = np.column_stack([_user_state(sixes, ratings, movies), movies.year[movie.ravel()]]).astype(np.float32)
    mean = float(sixes.clicks[~sixes.is_test].mean())
    return sixes.prior_scores(users, steady, [movie], rate=mean, strength=_SMOOTHING, seed=seed)


def _user_state(sixes: Sixes, ratings: Ratings, movies: Movies) -> Floats:
    """Summarise the user's ratings before a list, for each of its movies, [T · 12, 3].

    The columns are the number of ratings, the share of fives, and that share among movies of the same genres. No test
    list is ever before another list.
    """
    genres = movies.genres[ratings.movie].astype(np.float32)
    columns = np.column_stack([np.ones(len(genres)), ratings.click, genres, genres * ratings.click[:, None]])
    before = np.vstack([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0, dtype=np.float64)])
    state = before[sixes.start] - before[sixes.start - sixes.ordinal]
    mine = movies.genres[sixes.candidates]
    seen = np.einsum("tng,tg->tn", mine, state[:, 2 : 2 + len(GENRES)])
    liked = np.einsum("tng,tg->tn", mine, state[:, 2 + len(GENRES) :])
    rated, fives = state[:, :1], state[:, 1:2]
    share = (fives + 0.2 * _SMOOTHING) / (rated + _SMOOTHING)
    affinity = (liked + share * _SMOOTHING) / (seen + _SMOOTHING)
    every = np.ones_like(affinity)
    return np.stack([np.log1p(rated) * every, share * every, affinity], axis=2).reshape(-1, 3)


def _movie_features(movies: Movies, m: int) -> dict[str, str | float]:
    year = float(movies.year[m])
    genres = {f"genre_{g.lower()}": float(x) for g, x in zip(GENRES, movies.genres[m], strict=True)}
    return {"movie": movies.ids[m], **({} if np.isnan(year) else {"year": year}), **genres}


def _ratings_file(folder: Path) -> Path:
    plain, packed = folder / "ratings.dat", folder / "ratings.dat.gz"
    return plain if plain.exists() or not packed.exists() else packed


def _read(path: Path, *columns: str) -> Table:
    return read_delimited(path, columns, separator="::", encoding="latin-1")


def _numbered(table: Table, column: str, ids: Collection[str]) -> Ints:
    number = {value: i for i, value in enumerate(ids)}
    values = table.key(column)
    for row, value in enumerate(values):
        if value not in number:
            raise table.error(row, column, f"{value!r} is not in {column}s.dat")
    return np.array([number[value] for value in values], np.int64)
