"""Shards and key names."""

import json
from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from profilestream.core.errors import UsageError
from profilestream.store.keys import Keys, live_key, murmur2, shard_of

VECTORS = json.loads((Path(__file__).parents[2] / "schemas" / "shard-vectors.json").read_text())["vectors"]

# Known answers of the Java client's `Utils.murmur2`, signed as there.
OF_JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_a_customer_lies_in_the_shard_that_the_published_vectors_say(vector: dict) -> None:
    customer_id = vector["customer_id"]
    assert murmur2(customer_id.encode()) == vector["murmur2"]
    assert {n: shard_of(customer_id, int(n)) for n in vector["shard"]} == vector["shard"]


@pytest.mark.parametrize("text", OF_JAVA)
def test_the_hash_is_that_of_kafkas_java_client(text: str) -> None:
    assert murmur2(text.encode()) == OF_JAVA[text] % 2**32


@given(st.binary(max_size=900))
def test_the_hash_is_that_of_aiokafka_for_any_bytes(data: bytes) -> None:
    assert murmur2(data) == murmur2_of_aiokafka(data)


def test_the_vectors_hold_ids_of_all_lengths_modulo_four_and_of_several_scripts() -> None:
    ids = [vector["customer_id"] for vector in VECTORS]
    assert {len(i.encode()) % 4 for i in ids} == {0, 1, 2, 3}
    assert any(max(map(ord, i)) > 0xFFFF for i in ids)
    assert max(map(len, ids)) == 200


def test_keys_are_named_as_the_contract_says() -> None:
    keys = Keys("ps", "g1")
    shard = keys.shard(3)
    assert (keys.live, keys.meta, live_key("ps")) == ("ps:live", "ps:g1:meta", "ps:live")
    assert shard.profile("c42") == "ps:g1:{3}:profile:c42"
    assert shard.state("c42") == "ps:g1:{3}:state:c42"
    assert shard.segment("big_spender") == "ps:g1:{3}:segment:big_spender"
    assert (shard.head, shard.timers, shard.outbox) == (
        "ps:g1:{3}:head",
        "ps:g1:{3}:timers",
        "ps:g1:{3}:outbox",
    )


@given(st.text(min_size=1, max_size=20))
def test_all_keys_of_a_shard_lie_in_one_slot_whatever_the_customer_is_called(customer_id: str) -> None:
    shard = Keys("ps", "g1").shard(7)
    try:
        slot = key_slot(shard.profile(customer_id).encode())
    except UnicodeEncodeError:
        return
    keys = (shard.head, shard.timers, shard.outbox, shard.state(customer_id), shard.segment("a"))
    assert {key_slot(key.encode()) for key in keys} == {slot}


@pytest.mark.parametrize("name", ["", "PS", "a:b", "a{b", "a_b", "ps\n"])
def test_a_name_that_could_move_the_hash_tag_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Keys(name, "g1")
    with pytest.raises(UsageError):
        Keys("ps", name)
