"""What a real Redis knows of items reaches a request; what is missing or wrong is counted."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from models.contract.categories import CategoryColumn
from models.contract.spec import Category
from service.catalogues.redis_source import RedisSource
from tests.service.catalogues.reading import NEVER, Counts, prices, read, source, until
from tests.service.redis_server import PREFIX, RedisServer, redis_server
from tests.service.tiny_bundle import SPEC

CATEGORY = SPEC.item_categoricals[0]


def test_values_of_every_kind_reach_the_layer(server: RedisServer) -> None:
    server.put("price", {"a": "12.5", "b": "0"})
    server.put("features:category", {"a": '"hats"', "c": '"boats"'})
    server.put("features:stars", {"a": "4", "b": "3.5", "c": "true"})
    places = np.array([2, 0, 1])

    async def scenario() -> None:
        async with source(server.url, Counts()) as made:
            layer = await read(made, ["a", "b", "c"])
            assert layer.prices(places).tolist() == pytest.approx([np.nan, 12.5, 0], nan_ok=True)
            assert layer.values("category", places) == ["boats", "hats", None]
            assert layer.numbers("stars", places).tolist() == [1, 4, 3.5]
            assert isinstance(CATEGORY, Category)
            column = CategoryColumn(CATEGORY, 10)
            assert layer.rows(column, places).tolist() == [10, column.row("hats"), -1]
            assert layer.embeddings(places).tolist() == [[0], [0], [0]]
            assert not layer.has_embeddings(places)

    asyncio.run(scenario())


def test_a_layer_knows_nothing_that_was_not_read(server: RedisServer) -> None:
    server.put("price", {"a": "12.5", "b": "7"})

    async def scenario() -> None:
        async with source(server.url, Counts()) as made:
            layer = made.layer(SPEC, ["a", "b"])
            both = np.arange(2)
            assert np.isnan(layer.prices(both)).all()
            await layer.read_ahead(np.array([1]), {}, NEVER)
            assert layer.prices(both).tolist() == pytest.approx([np.nan, 7], nan_ok=True)

    asyncio.run(scenario())


def test_only_what_is_not_cached_is_asked_for(server: RedisServer) -> None:
    server.put("price", {"a": "1", "b": "2", "c": "3"})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            assert await prices(made, ["a", "nobody"]) == [1, None]
            assert await prices(made, ["nobody", "a"]) == [None, 1]
            assert await prices(made, ["a", "b", "nobody", "c"]) == [1, 2, None, 3]

    asyncio.run(scenario())
    assert counts.reads == ["ok", "cached", "ok"]
    assert counts.values_seen == {"known": 3, "missing": 1, "refused": 0}
    assert len(counts.exchanges) == server.questions() == 2


def test_prices_that_were_read_first_are_not_asked_for_again(server: RedisServer) -> None:
    server.put("price", {"a": "1", "b": "2"})
    server.put("features:stars", {"a": "5"})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            layer = made.layer(SPEC, ["a", "b"])
            await layer.read_ahead(np.arange(2), {}, NEVER)
            await layer.read(np.array([0]), NEVER)
            assert layer.prices(np.arange(2)).tolist() == [1, 2]
            assert layer.numbers("stars", np.array([0])).tolist() == [5]

    asyncio.run(scenario())
    assert counts.values_seen["known"] == 3


def test_a_value_is_used_no_longer_than_its_time(server: RedisServer) -> None:
    server.put("price", {"a": "1"})

    async def scenario() -> None:
        async with source(server.url, Counts(), ttl_seconds=0.3) as made:
            began = monotonic()
            assert await prices(made, ["a"]) == [1]
            server.put("price", {"a": "2"})
            found = await prices(made, ["a"])
            assert found == [1] or monotonic() - began > 0.15
            while await prices(made, ["a"]) == [1]:
                assert monotonic() - began < 30
                await asyncio.sleep(0.01)
            assert await prices(made, ["a"]) == [2]

    asyncio.run(scenario())


def test_a_field_without_a_hash_is_asked_for_once_in_a_while(server: RedisServer) -> None:
    server.put("price", {f"{i}": "1" for i in range(20)})

    async def scenario() -> None:
        async with source(server.url, Counts()) as made:
            for i in range(20):
                await read(made, [f"{i}"])

    asyncio.run(scenario())
    # The price each time; category, brand and stars the first time only.
    assert server.questions() == 20 + 3


def test_a_field_that_appears_is_found_once_the_time_is_over(server: RedisServer) -> None:
    async def scenario() -> None:
        async with source(server.url, Counts(), ttl_seconds=0.1) as made:
            assert await prices(made, ["a"]) == [None]
            server.put("price", {"a": "2"})
            deadline = monotonic() + 30
            while await prices(made, ["a"]) != [2]:
                assert monotonic() < deadline
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_fields_that_rules_name_need_not_be_in_the_spec(server: RedisServer) -> None:
    server.put("features:seller", {"a": '"s1"', "b": "17"})

    async def scenario() -> None:
        async with source(server.url, Counts()) as made:
            layer = made.layer(SPEC, ["a", "b", "c"])
            await layer.read_ahead(np.arange(0), {"seller": np.arange(3), "nowhere": np.arange(2)}, NEVER)
            assert layer.values("seller", np.arange(3)) == ["s1", 17, None]
            assert layer.values("nowhere", np.arange(3)) == [None] * 3

    asyncio.run(scenario())


def test_thousands_of_ids_are_one_question(server: RedisServer) -> None:
    ids = [f"item-{i}" for i in range(20_000)]
    server.put("price", {name: f"{i}" for i, name in enumerate(ids)})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            assert await prices(made, ids) == list(range(20_000))
            assert await prices(made, ids) == list(range(20_000))

    asyncio.run(scenario())
    assert counts.reads == ["ok", "cached"]
    assert server.questions() == 1


def test_requests_at_once_share_one_connection_and_their_questions(server: RedisServer) -> None:
    server.put("price", {f"{i}": f"{i}" for i in range(500)})
    counts = Counts()

    async def scenario() -> None:
        async with source(server.url, counts) as made:
            wanted = [[f"{i}", f"{i + 1}", f"{499 - i}"] for i in range(200)]
            found = await asyncio.gather(*(prices(made, ids) for ids in wanted))
            assert [[f"{p:g}" for p in row if p is not None] for row in found] == wanted
            assert server.connections() == 1

        await until(lambda: server.connections() == 0)

    asyncio.run(scenario())
    assert server.questions() <= 10
    assert set(counts.reads) == {"ok"}


def test_a_unix_socket_and_another_prefix(server: RedisServer) -> None:
    server.command("HSET", "shop/price", "a", "3")

    async def scenario() -> None:
        async with source(f"unix://{server.socket_path}?db=0", Counts(), prefix="shop/") as made:
            assert await prices(made, ["a"]) == [3]

    asyncio.run(scenario())


def test_a_password_is_used_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()

    async def scenario(server: RedisServer, password: str) -> None:
        url = f"redis://:{password}@127.0.0.1:{server.port}/0"
        async with source(url, counts) as made:
            await made.open()
            await prices(made, ["a"])

    with redis_server(tmp_path, "--requirepass", "hunter2") as server, caplog.at_level(logging.INFO):
        asyncio.run(scenario(server, "hunter2"))
        asyncio.run(scenario(server, "wrong-one"))
    assert counts.reads == ["ok", "error"]
    assert f"come from redis://127.0.0.1:{server.port}/0" in caplog.text
    assert "cannot be reached" in caplog.text
    assert "hunter2" not in caplog.text
    assert "wrong-one" not in caplog.text


def test_a_user_needs_four_commands_and_one_that_is_refused_is_named(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    server.put("price", {"a": "1"})
    allowed = ["+get", "+hmget", "+exists"]
    server.command("ACL", "SETUSER", "most", "on", ">word", f"~{PREFIX}*", *allowed)
    server.command("ACL", "SETUSER", "all", "on", ">word", f"~{PREFIX}*", *allowed, "+echo")

    async def scenario() -> None:
        for user, price in (("all", 1), ("most", None)):
            async with source(f"redis://{user}:word@127.0.0.1:{server.port}", counts) as made:
                assert await prices(made, ["a"]) == [price]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert counts.reads == ["ok", "error"]
    assert "'echo'" in caplog.text


def test_closing_ends_what_is_on_its_way(server: RedisServer) -> None:
    server.put("price", {"a": "1"})
    counts = Counts()

    async def scenario() -> None:
        made = RedisSource.make(server.url, counts, prefix=PREFIX, seconds=30, ttl_seconds=30)
        await prices(made, ["a"])
        server.command("CLIENT", "PAUSE", "300")
        reading = asyncio.create_task(prices(made, ["b"]))
        await until(lambda: made._reader._work is not None)
        await made.close()
        assert await reading == [None]
        assert await prices(made, ["c"]) == [None]

    asyncio.run(scenario())
    assert counts.reads == ["ok", "skipped", "skipped"]
