"""Values for another spec, garbage, and keys of other types are missing in a request, and counted."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest

from models.contract.spec import Number
from tests.service.catalogues.reading import Counts, prices, read, source
from tests.service.redis_server import PREFIX, RedisServer
from tests.service.tiny_bundle import SPEC

OTHER = replace(SPEC, item=(*SPEC.item, Number("weight")))


def test_values_for_this_spec_or_for_any_are_used(server: RedisServer) -> None:
    server.put("price", {"a": "1"})
    server.command("SET", PREFIX + "fingerprint", SPEC.fingerprint)
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            assert await prices(made, ["a"]) == [1]
            assert await prices(made, ["a"], OTHER) == [None]
            assert await prices(made, ["a"]) == [1]

    asyncio.run(scenario())
    assert counts.reads == ["ok", "wrong-fingerprint", "cached"]
    assert server.questions() == 1


def test_values_for_another_spec_are_not_used(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    server.put("price", {"a": "1"})
    server.command("SET", PREFIX + "fingerprint", OTHER.fingerprint)
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts, ttl_seconds=0.2) as made:
            for _ in range(5):
                assert await prices(made, ["a"]) == [None]
            # With the right one they are used, after a while.
            server.command("SET", PREFIX + "fingerprint", SPEC.fingerprint)
            deadline = monotonic() + 30
            while await prices(made, ["a"]) != [1]:
                assert monotonic() < deadline
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads[:5] == ["wrong-fingerprint"] * 5
    assert len([r for r in caplog.records if "for the spec" in r.message]) == 1


def test_a_change_of_the_fingerprint_drops_what_was_cached(server: RedisServer) -> None:
    server.put("price", {"a": "1", "b": "1"})
    server.command("SET", PREFIX + "fingerprint", SPEC.fingerprint)

    async def scenario() -> None:
        async with source(server.url, Counts()) as made:
            assert await prices(made, ["a"]) == [1]
            server.command("SET", PREFIX + "fingerprint", OTHER.fingerprint)
            server.put("price", {"a": "9", "b": "9"})
            # The second id must be asked for, and the answer says that neither is for this spec.
            assert await prices(made, ["a", "b"]) == [None, None]
            assert await prices(made, ["a"], OTHER) == [9]

    asyncio.run(scenario())


def test_garbage_is_missing_and_counted_and_hurts_nothing_else(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["", "NaN", "inf", "1e999", "-1", '"5"', "[1]", "x" * (3 << 20)]
    server.put("price", {f"bad{i}": value for i, value in enumerate(bad)} | {"good": "2", "null": "null"})
    counts = Counts()
    ids = [*(f"bad{i}" for i in range(len(bad))), "good", "null", "absent"]

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            assert await prices(made, ids) == [*[None] * len(bad), 2, None, None]
            assert await prices(made, ids) == [*[None] * len(bad), 2, None, None]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads == ["ok", "cached"]
    assert counts.values_seen == {"known": 1, "missing": 2, "refused": len(bad)}
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1
    assert "listwright:price of 'bad0' is refused" in lines[0]


def test_a_key_of_another_type_is_missing_and_counted(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    server.command("SET", PREFIX + "price", "12")
    server.command("LPUSH", PREFIX + "features:brand", "x")
    server.put("features:stars", {"a": "4"})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            for _ in range(3):
                layer = await read(made, ["a", "b"])
                assert np.isnan(layer.prices(np.arange(2))).all()
                assert layer.numbers("stars", np.array([0])).tolist() == [4]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads == ["ok", "cached", "cached"]
    assert counts.values_seen == {"known": 1, "missing": 1, "refused": 4}
    assert sorted(record.message for record in caplog.records) == [
        "live values: listwright:features:brand is no hash",
        "live values: listwright:price is no hash",
    ]


def test_a_fingerprint_of_another_type_fits_no_spec(server: RedisServer) -> None:
    server.put("fingerprint", {"a": "1"})
    server.put("price", {"a": "1"})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            assert await prices(made, ["a"]) == [None]

    asyncio.run(scenario())
    assert counts.reads == ["wrong-fingerprint"]
