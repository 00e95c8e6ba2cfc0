"""The cache of live values: nothing is used past its time, what is missing is remembered, and its size has a bound."""

from __future__ import annotations

from service.catalogues.live_cache import UNKNOWN, LiveCache
from service.catalogues.live_values import PRICE, field_column

STARS = field_column("stars", number=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_put_is_found_and_what_is_missing_is_no_longer_asked_for() -> None:
    cache = LiveCache(seconds=5)
    cache.put(PRICE, {"a": 1.5, "b": None})
    assert cache.find(PRICE, ["b", "c", "a"]) == [None, UNKNOWN, 1.5]
    assert cache.find(STARS, ["a"]) == [UNKNOWN]


def test_no_value_is_older_than_its_time_whenever_it_is_looked_at() -> None:
    for step in (0.1, 0.7, 1.3, 2.4, 2.6, 4.9, 5.1, 30.0):
        clock = Clock()
        cache = LiveCache(seconds=5, clock=clock)
        put_at: dict[str, float] = {}
        for turn in range(60):
            for name, value in zip(put_at, cache.find(PRICE, list(put_at)), strict=True):
                age = clock.now - put_at[name]
                assert value is UNKNOWN or age <= 5, (step, age)
                # Half of the time is the least that a value lasts.
                assert value is not UNKNOWN or age >= 2.5, (step, age)
            put_at[f"{turn}"] = clock.now
            cache.put(PRICE, {f"{turn}": 1.0})
            clock.now += step


def test_the_oldest_go_once_there_are_too_many() -> None:
    cache = LiveCache(seconds=5, most=100)
    for i in range(1000):
        cache.put(PRICE, {f"{i}": float(i)})
    found = [value for value in cache.find(PRICE, [f"{i}" for i in range(1000)]) if value is not UNKNOWN]
    assert 50 <= len(found) <= 100
    assert found[-1] == 999.0


def test_clear_forgets_everything() -> None:
    cache = LiveCache(seconds=5)
    cache.put(PRICE, {"a": 1.5})
    cache.clear()
    assert cache.find(PRICE, ["a"]) == [UNKNOWN]
