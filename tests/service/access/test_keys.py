"""Keys open a listener by their digests; a swap ends old ones at once and keeps what a limit has used up."""

from __future__ import annotations

import pytest

from service.access.failures import NO_PEER, FailureLimit
from service.access.key import MOST_KEYS, ApiKey, digest
from service.access.keys import ApiKeys, FailureReason
from service.contract.problems import Problem

PEER = "10.0.0.9"


def key(name: str, rate: float | None = None) -> ApiKey:
    return ApiKey(name, digest(f"secret-{name}"), rate)


def refused(keys: ApiKeys, authorization: str | None, peer: str = PEER) -> Problem:
    with pytest.raises(Problem) as caught:
        keys.check(authorization, peer)
    return caught.value


def test_a_key_is_found_by_its_secret_among_as_many_as_there_may_be() -> None:
    keys = ApiKeys([key(f"k{i}") for i in range(MOST_KEYS)])
    for i in range(MOST_KEYS):
        assert keys.check(f"Bearer secret-k{i}") == f"k{i}"
        assert keys.check(f"bearer  secret-k{i} ") == f"k{i}"


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Bearer", "Bearer ", "secret-a", "Basic secret-a", "Bearer secret-", "Bearer secret-aa"),
        "\udcff \xff",
    ],
)
def test_anything_else_is_refused(authorization: str | None) -> None:
    problem = refused(ApiKeys([key("a")]), authorization)
    assert (problem.kind.status, problem.headers) == (401, {"www-authenticate": "Bearer"})


def test_without_keys_everybody_is_let_in_unless_keys_are_still_to_come() -> None:
    assert ApiKeys().check(None) is None
    awaited = ApiKeys(needed=True)
    assert refused(awaited, "Bearer secret-a").kind.status == 401
    awaited.swap([key("a")])
    assert awaited.check("Bearer secret-a") == "a"


def test_a_swap_ends_old_keys_and_tells_all_who_want_to_know() -> None:
    told: list[set[str]] = []
    keys = ApiKeys([key("a"), key("b")])
    keys.on_swap(lambda names: told.append(set(names)))
    keys.swap([key("b"), key("c")])
    assert told == [{"a", "b"}, {"b", "c"}]
    assert refused(keys, "Bearer secret-a").kind.status == 401
    assert keys.check("Bearer secret-c") == "c"


def test_a_swap_to_the_same_limit_does_not_fill_it_again() -> None:
    keys = ApiKeys([key("a", 1e-3)])
    assert keys.take("a") is None
    keys.swap([key("a", 1e-3), key("b")])
    over = keys.take("a")
    assert over is not None
    assert keys.look("a") == over
    assert over.problem().headers == {"retry-after": "1000"}
    assert keys.take("b") is None
    keys.swap([key("a", 2e-3)])
    assert keys.take("a") is None


def test_several_processes_share_a_limit() -> None:
    keys = ApiKeys([key("a", 1.0)], shares=4)
    assert keys.take("a") is None
    limit = keys.take("a")
    assert limit is not None
    assert (limit.rate, limit.retry_after_seconds) == (1.0, 4)


def test_wrong_keys_are_limited_by_address_and_a_valid_key_from_there_is_still_taken() -> None:
    reasons: list[FailureReason] = []
    keys = ApiKeys([key("a")], failures=FailureLimit(2))
    keys.on_failure(reasons.append)
    statuses = [refused(keys, "Bearer guess").kind.status for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert 1 <= int(refused(keys, "Bearer guess").headers["retry-after"]) <= 60
    assert keys.check("Bearer secret-a", PEER) == "a"
    assert refused(keys, None).kind.status == 401, "who sends no key guesses none"
    assert refused(keys, "Bearer guess", "10.0.0.10").kind.status == 401
    assert refused(keys, "Bearer guess", NO_PEER).kind.status == 401
    assert reasons == ["unknown", "unknown", "limited", "limited", "missing", "unknown", "unknown"]
