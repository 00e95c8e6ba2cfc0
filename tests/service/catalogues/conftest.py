"""A Redis that the tests of a module share, empty for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.redis_server import RedisServer, redis_server


@pytest.fixture(scope="module")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running_redis: RedisServer) -> RedisServer:
    running_redis.command("FLUSHALL")
    running_redis.command("CONFIG", "RESETSTAT")
    return running_redis
