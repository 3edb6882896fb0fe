"""What is tried again is said once, and once more when it is over."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisLost
from redis.exceptions import ResponseError

from profilestream.stream.reports import Troubles, named

REDIS = "redis://127.0.0.1:1/0"


def test_sixteen_shards_that_lose_one_redis_in_different_ways_say_one_line_and_one_when_the_last_has_it_again() -> None:
    said: list[str] = []
    troubles = Troubles(said.append)
    for attempt in range(3):
        for shard in range(16):
            how = "127.0.0.1:1 cannot be reached" if shard % 2 else f"{REDIS} has not answered for {attempt} s"
            troubles.begin(shard, f"Redis at {how}", "trying again")
    assert said == [f"Redis at {REDIS} has not answered for 0 s; trying again"]
    for shard in range(15):
        troubles.over(shard)
    assert len(said) == 1
    troubles.over(15)
    troubles.over(15)
    assert said[1:] == ["Redis at 127.0.0.1:1 answers again"]
    troubles.begin(3, "Redis at 127.0.0.1:1 cannot be reached", "trying again")
    assert len(said) == 3, "another outage"


def test_a_part_that_leaves_settles_nothing_and_nobody_waits_for_it() -> None:
    said: list[str] = []
    troubles = Troubles(said.append)
    troubles.begin(1, "Redis refused a commit: no memory", "trying again")
    troubles.leave(1)
    assert len(said) == 1
    troubles.begin(1, "Redis refused a commit: no memory", "trying again")
    troubles.begin(2, "Redis refused a commit: no memory", "trying again")
    troubles.leave(1)
    troubles.over(2)
    assert said[2:] == ["settled: Redis refused a commit: no memory"]


def test_an_error_of_a_client_library_names_the_server_and_never_what_redis_quotes() -> None:
    assert named(RedisLost(), None, REDIS).startswith(f"Redis at {REDIS} cannot be reached")
    quoted = named(ResponseError("WRONGTYPE of ps:g1:{0}:profile:ann"), None, REDIS)
    assert quoted == "Redis refuses: it answers WRONGTYPE"
