"""Convert MovieLens 1M to lists of six (`sixes.py`), as DeGRe's public table does.

It reads `ratings.dat[.gz]`, `users.dat` and `movies.dat`. A rating of 5 is a click; unseen movies are those that the
user never rated, drawn with the seed. There are no prices and no purchases.

The prior ``ctr`` is P(rating 5 | rated). It sees the user's *earlier* lists and the movies' ratings by other users,
never the list it scores and never a test list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from models.contract.arrays import Floats, Ints
from models.data.lists import Candidate
from models.datasets.embeddings import attribute_embeddings, describe_embedding
from models.datasets.priors import DESCRIPTION, FoldCounts, cross_fit
from models.datasets.sixes import LENGTH, RequestParts, Sixes, cut_sixes
from models.datasets.source import ListSource
from models.datasets.table import Table, TableError, read_delimited

POSITIVE: Final = 5
GENRES: Final = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_ENCODING: Final = "latin-1"
_SMOOTHING: Final = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Movies:
    """Hold the catalogue: `genres` [M, 18] of 0 and 1, `year` [M], NaN if unknown."""

    ids: list[str]
    genres: Floats
    year: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Users:
    """Hold the users, in the file's order; `fields` go into their records."""

    ids: list[str]
    fields: list[dict[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Hold all n ratings by user and time.

    `sizes` [U] counts those of each user, `movie` [n] are places in `Movies`.
    """

    sizes: Ints
    movie: Ints
    click: Ints


def load(folder: Path, *, seed: int) -> ListSource:
    """Load the sixes as list records. Raises `TableError` for a missing file or broken row."""
    movies = read_movies(folder / "movies.dat")
    users = read_users(folder / "users.dat")
    ratings = read_ratings(_ratings_file(folder), users, movies)
    sixes = cut_sixes(ratings.sizes, ratings.movie, ratings.click, partial(draw_unrated, ratings, movies, seed=seed))
    scores = prior_scores(sixes, ratings, users, movies, seed=seed)
    every = np.ones(len(movies.ids), bool)
    numbers = {"year": movies.year, **dict(zip(GENRES, movies.genres.T, strict=True))}
    embeddings = attribute_embeddings(numbers, {}, every)
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

    def candidate(m: int, score: float) -> Candidate:
        return Candidate(movies.ids[m], {"ctr": score}, None, features[m], vectors[m])

    def request(t: int) -> RequestParts:
        user = int(sixes.user[t])
        return f"u{users.ids[user]}-{sixes.start[t]}", users.fields[user], {}

    return ListSource(sixes.records(scores, candidate, request, seed=seed), len(sixes.user), metadata)


def read_movies(path: Path) -> Movies:
    """Read ``id::title (year)::genre|genre``. Raises `TableError`."""
    table = read_delimited(path, ("movie", "title", "genres"), separator="::", encoding=_ENCODING)
    place = {name: i for i, name in enumerate(GENRES)}
    genres = np.zeros((table.rows, len(GENRES)))
    for row, text in enumerate(table.key("genres")):
        for genre in text.split("|"):
            if genre not in place:
                raise table.error(row, "genres", f"{genre!r} is not one of MovieLens 1M's genres")
            genres[row, place[genre]] = 1.0
    years = [re.search(r"\((\d{4})\)\s*$", title) for title in table.key("title")]
    return Movies(_distinct(table, "movie"), genres, np.array([float(y[1]) if y else np.nan for y in years]))


def read_users(path: Path) -> Users:
    """Read ``id::gender::age::occupation::zip``. Raises `TableError`."""
    names = ("user", "gender", "age", "occupation", "zip")
    table = read_delimited(path, names, separator="::", encoding=_ENCODING)
    columns = [table.key(name) for name in names[:-1]]
    fields = [dict(zip(names[:-1], row, strict=True)) for row in zip(*columns, strict=True)]
    return Users(_distinct(table, "user"), fields)


def read_ratings(path: Path, users: Users, movies: Movies) -> Ratings:
    """Read ``user::movie::rating::timestamp``. Raises `TableError`."""
    table = read_delimited(path, ("user", "movie", "rating", "timestamp"), separator="::", encoding=_ENCODING)
    user, movie = _numbered(table, "user", users.ids), _numbered(table, "movie", movies.ids)
    click = (table.number("rating", low=1, high=5, whole=True) == POSITIVE).astype(np.int64)
    time = table.number("timestamp", low=0)
    pairs = user * len(movies.ids) + movie
    first = np.unique(pairs, return_index=True)[1]
    if len(first) < len(pairs):
        again = np.setdiff1d(np.arange(len(pairs)), first)[0]
        raise table.error(int(again), "movie", "is rated twice by one user")
    order = np.lexsort((time, user))  # Stable, so ties keep the file's order.
    sizes = np.bincount(user, minlength=len(users.ids))
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


def prior_scores(sixes: Sixes, ratings: Ratings, users: Users, movies: Movies, *, seed: int) -> Floats:
    """Predict P(rating 5) of the rated and then the unrated movies, [T, 12]."""
    movie = sixes.candidates
    labels, rated = sixes.labels()
    fold = sixes.folds(users.ids, seed=seed)
    counts = FoldCounts(movie.ravel(), fold, np.column_stack([np.ones(len(labels)), labels]), counted=rated)
    steady = np.column_stack([_user_state(sixes, ratings, movies), movies.year[movie.ravel()]]).astype(np.float32)
    mean = float(sixes.clicks[~sixes.is_test].mean())

    def features(held_out: int | None) -> Floats:
        seen, liked = counts.excluding(held_out).T
        return np.column_stack([steady, np.log1p(seen), (liked + _SMOOTHING * mean) / (seen + _SMOOTHING)])

    scores = cross_fit(features, labels, fold, seed=seed, learn=rated)
    return scores.reshape(movie.shape)


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


def _distinct(table: Table, column: str) -> list[str]:
    seen: set[str] = set()
    for row, value in enumerate(table.key(column)):
        if value in seen:
            raise table.error(row, column, f"{value!r} stands twice")
        seen.add(value)
    return table.key(column)


def _numbered(table: Table, column: str, ids: list[str]) -> Ints:
    number = {value: i for i, value in enumerate(ids)}
    values = table.key(column)
    for row, value in enumerate(values):
        if value not in number:
            raise table.error(row, column, f"{value!r} is not in {column}s.dat")
    return np.array([number[value] for value in values], np.int64)
